"""Envelopes that were touched on their way: every byte, every length, every order. None may pass."""

from __future__ import annotations

import itertools

import pytest

from owner.sealing.rig import Rig, new_device
from twinveil.errors import InvalidKey, InvalidMessage
from twinveil.sealing.envelope import (
    MOST_ENVELOPE_BYTES,
    SIGN_VERSIONS,
    SIGNATURE_BYTES,
    read_envelope,
    sign_bytes,
)
from twinveil.sealing.keys import PublicKeys, ServerKeys
from twinveil.sealing.reasons import Reason

EARLY = {Reason.MALFORMED, Reason.SIGNATURE, Reason.FOREIGN_DEVICE}


@pytest.mark.parametrize("version", [1, 3])
def test_every_flipped_byte_is_refused(rig: Rig, version: int) -> None:
    envelope = rig.seal(sign_version=version)
    for place in range(len(envelope)):
        touched = bytearray(envelope)
        touched[place] ^= 1 << (place % 8)
        assert rig.verifier.verify(bytes(touched)).reason in EARLY, place
    assert rig.verifier.verify(envelope).reason is Reason.PASSED  # none of them used it up


@pytest.mark.parametrize("stride", [16, pytest.param(1, marks=pytest.mark.heavy)])
def test_every_flipped_byte_is_refused_even_if_the_device_signs_it(rig: Rig, stride: int) -> None:
    """What HPKE and the context checks hold by themselves, without the signature.

    Every byte of the header; of the ciphertext every `stride`-th.
    """
    envelope = rig.seal()
    header = len(read_envelope(envelope).header.encode()) + 4
    seen = set()
    for place in (*range(header), *range(header, len(envelope) - SIGNATURE_BYTES, stride)):
        device = new_device(f"d{place}", rig.clock)
        rig.registry.register_device(device.name, device.public_key)
        body = bytearray(_sealed_by(rig, device)[:-SIGNATURE_BYTES])
        at = place % len(body)
        body[at] ^= 1 << (place % 8)
        verdict = rig.verifier.verify(sign_bytes(bytes(body), device.key))
        assert verdict.receipt is None, place
        seen.add(verdict.reason)
    assert {Reason.ALTERED, Reason.VERSION, Reason.FOREIGN_KEY, Reason.FOREIGN_MODEL, Reason.TOO_OLD} <= seen


def test_every_truncation_is_refused(rig: Rig) -> None:
    envelope = rig.seal()
    for length in range(len(envelope)):
        assert rig.verifier.verify(envelope[:length]).reason is Reason.MALFORMED
    assert rig.verifier.verify(envelope + b"\0").reason is Reason.MALFORMED


def test_every_order_of_its_parts_but_one_is_refused(rig: Rig) -> None:
    envelope = rig.seal()
    header = read_envelope(envelope).header.encode()
    parts = [
        envelope[:4],
        header[4:-80],
        header[-80:],
        envelope[len(header) : -SIGNATURE_BYTES],
        envelope[-SIGNATURE_BYTES:],
    ]
    for order in itertools.permutations(range(5)):
        if order != (0, 1, 2, 3, 4):
            assert rig.verifier.verify(b"".join(parts[place] for place in order)).reason in EARLY


def test_parts_of_two_envelopes_do_not_mix(rig: Rig) -> None:
    first, second = rig.seal(), rig.seal()
    cut = len(read_envelope(first).header.encode())
    ends = len(first) - SIGNATURE_BYTES
    for spliced in (
        first[:cut] + second[cut:],
        second[:cut] + first[cut:],
        first[:ends] + second[ends:],
        first[:cut] + second[cut:ends] + first[ends:],
    ):
        assert rig.verifier.verify(spliced).reason is Reason.SIGNATURE
    moved = sign_bytes(first[:cut] + second[cut:ends], rig.device.key)
    assert rig.verifier.verify(moved).reason is Reason.ALTERED


@pytest.mark.parametrize("version", [v for v in range(6) if v not in SIGN_VERSIONS] + [65535])
def test_unknown_versions_are_not_sealed(rig: Rig, version: int) -> None:
    with pytest.raises(InvalidMessage, match="sign_version"):
        rig.seal(sign_version=version)


@pytest.mark.parametrize("data", [b"", b"TVE1", b"TVE2" + bytes(500), bytes(MOST_ENVELOPE_BYTES + 1)])
def test_what_is_no_envelope(rig: Rig, data: bytes) -> None:
    assert rig.verifier.verify(data).reason is Reason.MALFORMED


def test_an_envelope_shows_nothing_of_its_content(rig: Rig) -> None:
    """Not the account, not the payee, not the factor, not the salt; and no two ciphertexts are alike."""
    envelope, other = rig.seal(), rig.seal()
    assert b"alice" not in envelope
    assert b"bakery" not in envelope
    assert b"PNG" not in envelope
    first, second = read_envelope(envelope), read_envelope(other)
    assert first.ciphertext[:32] != second.ciphertext[:32]
    assert first.header.commitment != second.header.commitment


def test_malformed_public_keys_are_refused() -> None:
    good = ServerKeys.make().public.data
    for bad in (b"", good[:-1], good + b"\0", good[:32] + b"\xff" * 1184):
        with pytest.raises(InvalidKey):
            PublicKeys(bad)


def _sealed_by(rig: Rig, device) -> bytes:
    import dataclasses

    return dataclasses.replace(rig, device=device).seal()
