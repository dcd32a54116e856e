"""The first safety factor: how closely an image derived from the picture agrees with it, quantised.

variational    binarised picture -> q(z|x) by transposed convolutions -> reparametrised sample z
               -> p(x|z) by convolutions; the factor is p, one byte a pixel.
adversarial    noisy picture in -1 .. 1 -> generator -> derived picture; the cosine of each pixel's
               surroundings in both is its similarity; the factor is the map's rows, rank, norm or singular
               values.

Integers from end to end: the same network, picture and seed give the same bytes on every machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from twinveil.errors import BadPlan
from twinveil.sealing import spectrum
from twinveil.sealing.integers import FRACTION_BITS, ONE, Integers, cosines, look_up, rounded_shift
from twinveil.sealing.network import run
from twinveil.sealing.network_files import Network
from twinveil.sealing.pixels import Pixels, binarised, from_png, grey_square, signed
from twinveil.sealing.randomness import normals
from twinveil.sealing.wire import number

Form = Literal["rows", "rank", "norm", "singular"]
FORMS: tuple[Form, ...] = ("rows", "rank", "norm", "singular")
_NOISE_SHIFT = 2
"""Noise of a quarter of the pixel's range goes into the generator, as in training."""
_COSINE_SCALE_BITS = 3
"""Pixels enter the cosine with 7 of their 10 bits: sums of nine products of norms stay below 2^42."""


class FirstFactor(Protocol):
    """One of the two published ways."""

    @property
    def network(self) -> Network: ...

    def compute(self, pixels: Pixels, seed: bytes) -> bytes: ...


def factor_seed(second: bytes, picture: bytes) -> bytes:
    """The seed of a first factor: of this context and of every bit of this picture."""
    return hashlib.sha256(
        b"twinveil sealing seed\0" + hashlib.sha256(second).digest() + hashlib.sha256(picture).digest()
    ).digest()


def first_factor(model: FirstFactor, second: bytes, picture: bytes) -> bytes:
    """Of a sealed picture (PNG) in a context (an encoded second factor). Raises BadImage."""
    return model.compute(from_png(picture), factor_seed(second, picture))


def image_safety_factor(first: bytes, second: bytes) -> bytes:
    """Both factors joined, each with its length before it."""
    return number(len(first), 4) + first + number(len(second), 4) + second


def factor_model(network: Network) -> FirstFactor:
    """The way that a network was trained for. Raises BadPlan if it was trained for none."""
    if network.kind == "variational":
        return Variational(network)
    if network.kind == "adversarial":
        return Adversarial(network, network.facts.get("form", "rows"))
    raise BadPlan(f"a network of kind {network.kind!r} gives no safety factor")


@dataclass(frozen=True, slots=True)
class Variational:
    """Parts: trunk (dense, reshape, transposed convolutions), mean, log_variance, decoder."""

    network: Network

    def __post_init__(self) -> None:
        _check_parts(self.network, {"trunk", "mean", "log_variance", "decoder"})

    def compute(self, pixels: Pixels, seed: bytes) -> bytes:
        parts = self.network.parts
        picture = binarised(grey_square(pixels, self.network.side))
        features = run(parts["trunk"], picture)
        mean, log_variance = run(parts["mean"], features), run(parts["log_variance"], features)
        logits = run(parts["decoder"], self.sample(mean, log_variance, seed))
        chances = look_up("sigmoid", logits)
        return bytes(np.minimum(chances >> (FRACTION_BITS - 8), 255).astype(np.uint8).tobytes())

    @staticmethod
    def sample(mean: Integers, log_variance: Integers, seed: bytes) -> Integers:
        """z = mean + exp(log_variance / 2) * noise, noise normal and drawn from the seed."""
        noise = normals(seed, "reparametrisation", mean.shape)
        return mean + rounded_shift(look_up("exp_half", log_variance) * noise, FRACTION_BITS)


@dataclass(frozen=True, slots=True)
class Adversarial:
    """Part: generator. The discriminator only trains it and does not travel."""

    network: Network
    form: Form = "rows"

    def __post_init__(self) -> None:
        _check_parts(self.network, {"generator"})
        if self.form not in FORMS:
            raise BadPlan(f"a similarity gives a factor by {', '.join(FORMS)}, not by {self.form!r}")

    def compute(self, pixels: Pixels, seed: bytes) -> bytes:
        similarity = self.similarity(pixels, seed)
        match self.form:
            case "rows":
                return bytes(similarity.astype(">i2").tobytes())
            case "rank":
                return number(spectrum.rank(similarity), 2)
            case "norm":
                return number(spectrum.norm(similarity), 4)
            case "singular":
                return bytes(spectrum.singular_values(similarity).astype(">u4").tobytes())

    def derived(self, pixels: Pixels, seed: bytes) -> Integers:
        """The generator's picture, (side, side), -1 .. 1."""
        side = self.network.side
        picture = signed(grey_square(pixels, side))
        noise = normals(seed, "noise", picture.shape) >> _NOISE_SHIFT
        noisy = np.clip(picture + noise, -ONE, ONE)
        return run(self.network.parts["generator"], noisy).reshape(side, side)

    def similarity(self, pixels: Pixels, seed: bytes) -> Integers:
        """(side, side), 15 bits: each pixel with its eight neighbours as a vector, in both pictures.

        Single grey values have no angle between them; with its surroundings a pixel has one.
        """
        original = signed(grey_square(pixels, self.network.side)) >> _COSINE_SCALE_BITS
        derived = self.derived(pixels, seed) >> _COSINE_SCALE_BITS
        products = (original * derived, original * original, derived * derived)
        return cosines(*(_around(product) for product in products))


def _around(values: Integers) -> Integers:
    """For each place the sum over the 3 x 3 places around it; outside is 0."""
    padded = np.pad(values, 1)
    height, width = values.shape
    sums = np.zeros_like(values)
    for row in range(3):
        for column in range(3):
            sums += padded[row : row + height, column : column + width]
    return sums


def _check_parts(network: Network, wanted: set[str]) -> None:
    if set(network.parts) != wanted:
        raise BadPlan(f"a {network.kind} network has the parts {', '.join(sorted(wanted))}")
