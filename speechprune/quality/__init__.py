"""How natural and how intelligible a set's speech is: word errors of an ASR, DNSMOS, durations."""
