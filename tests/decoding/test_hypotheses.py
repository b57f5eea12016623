"""The field ``kept``: which audio tokens were read."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

from speechprune.decoding.hypotheses import pack_tokens, unpack_tokens


@pytest.mark.parametrize("total", [1, 7, 8, 9, 2250])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_tokens_come_back_as_they_were(total, share):
    kept = np.flatnonzero(np.random.default_rng(total).random(total) < share)
    found = unpack_tokens(pack_tokens(kept, total), total)
    assert found.dtype == np.int64
    assert found.tolist() == kept.tolist()


def test_the_form_is_one_bit_a_token():
    """Written out, since rows outlive versions and other tools read them: first token first, in the highest bit."""
    assert zlib.decompress(base64.b64decode(pack_tokens([0, 2, 9], 10))) == bytes([0b10100000, 0b01000000])
    assert len(pack_tokens(range(0, 2250, 3), 2250)) < 400


@pytest.mark.parametrize("text", ["", "no base64!", "AAAA", pack_tokens([1], 80), pack_tokens([1], 10)[:-8]])
def test_what_is_not_about_the_recording_is_refused(text):
    with pytest.raises(ValueError, match=r"^kept: "):
        unpack_tokens(text, 10)


def test_a_bomb_is_not_unpacked():
    bomb = base64.b64encode(zlib.compress(bytes(10**8))).decode()
    with pytest.raises(ValueError, match="is not about 10 audio tokens"):
        unpack_tokens(bomb, 10)
