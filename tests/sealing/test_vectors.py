"""Bytes that must stay: second factors, first factors, features and envelopes as they were once written."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sealing.make_vectors import DEVICE, FOLDER, KEYS, features, first_factors, second_factors
from twinveil.errors import InvalidMessage
from twinveil.sealing import synthetic
from twinveil.sealing.content import read_content
from twinveil.sealing.context import SecondFactor, read_second_factor
from twinveil.sealing.envelope import commit, decrypt, read_envelope
from twinveil.sealing.factors import factor_model, factor_seed, first_factor
from twinveil.sealing.wire import Reader


def stored(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("vector", stored("second_factors")["good"], ids=lambda vector: vector["device"][:8])
def test_second_factors_have_one_encoding(vector: dict[str, Any]) -> None:
    encoded = bytes.fromhex(vector["encoded"])
    reader = Reader(encoded, "a second factor")
    second = read_second_factor(reader)
    reader.end()
    wanted = SecondFactor(
        vector["device"],
        vector["sign_version"],
        vector["timestamp"],
        vector["counter"],
        bytes.fromhex(vector["random"]),
    )
    assert second == wanted
    assert second.encode() == encoded


@pytest.mark.parametrize("name", stored("second_factors")["bad"])
def test_other_encodings_are_refused(name: str) -> None:
    reader = Reader(bytes.fromhex(stored("second_factors")["bad"][name]), "a second factor")
    with pytest.raises(InvalidMessage):
        read_second_factor(reader)
        reader.end()


def test_nothing_has_moved() -> None:
    assert second_factors() == stored("second_factors")
    assert first_factors() == stored("first_factors")
    assert features() == stored("features")


def test_another_process_with_other_kernels_computes_the_same_bytes() -> None:
    """Vector instructions that float kernels would choose by are switched off in the other process."""
    code = (
        "import json; from tests.sealing.make_vectors import first_factors, features;"
        "print(json.dumps([first_factors(), features()]))"
    )
    switches = {
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F",
        "OPENBLAS_CORETYPE": "Prescott",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **switches},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "NPY_DISABLE_CPU_FEATURES" in done.stderr:  # this processor lacks one of them, or numpy is built on it
        del switches["NPY_DISABLE_CPU_FEATURES"]
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **switches},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    assert json.loads(done.stdout) == [stored("first_factors"), stored("features")]


@pytest.mark.parametrize("vector", stored("envelopes"), ids=lambda vector: str(vector["sign_version"]))
def test_stored_envelopes_open(vector: dict[str, Any]) -> None:
    envelope = read_envelope(bytes.fromhex(vector["envelope"]))
    assert envelope.is_signed_by(DEVICE.public_key())
    plain = decrypt(envelope.header, envelope.ciphertext, KEYS)
    assert hashlib.sha256(plain).hexdigest() == vector["content_sha256"]
    content, second = read_content(plain), envelope.header.second.encode()
    assert factor_seed(second, content.secret).hex() == vector["seed"]
    factor = first_factor(factor_model(synthetic.variational()), second, content.secret)
    assert factor == content.factor
    assert hashlib.sha256(factor).hexdigest() == vector["factor_sha256"]
    assert commit(content.salt, factor, second) == envelope.header.commitment
    assert envelope.header.commitment.hex() == vector["commitment"]
