"""What the owner's sealing verbs read from a person."""

from __future__ import annotations

import io

import pytest

from owner.sealing.verbs import _password
from twinveil.errors import BadInput
from twinveil.sealing.content import MOST_PASSWORD_BYTES


def test_a_password_is_the_first_line_in_utf_8() -> None:
    longest = "p" * MOST_PASSWORD_BYTES
    for text, read in (("pässwörd\nmore\n", "pässwörd"), ("p\r\n", "p"), ("p", "p"), ("", "")):
        assert _password(io.BytesIO(text.encode())) == read
    assert _password(io.BytesIO(f"{longest}\r\n".encode())) == longest
    assert len(_password(io.BytesIO(longest.encode() * 1000))) > MOST_PASSWORD_BYTES  # and is refused later


def test_a_password_that_is_no_utf_8_is_refused_in_one_line() -> None:
    with pytest.raises(BadInput, match="the password on standard input is no UTF-8"):
        _password(io.BytesIO("pässwörd\n".encode("latin-1")))
