"""Tables and figures drawn from scores; ``tables`` needs the standard library alone, ``figures`` matplotlib."""
