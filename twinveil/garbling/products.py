"""Correlated transfers of words of L bits: a bit of S1's times a bit of S2's, and pixels, as additive shares.

One random transfer each, cut to L bits: S1 has m_0, m_1, S2 a random c and m_c.

A product a b, a being S1's bit and b S2's:

    S2 -> S1   d = b xor c
    S1 -> S2   word = m_(1-d) - m_d - a                                 mod 2^L
    S1         - m_d                    S2   m_c, less the word where b = 1: m_d + a b

A picture that only linear layers read needs no gate. With rho = c drawn ahead, x_i = mu_i xor rho_i, mu being the
masked picture that S1 knows online, and r drawn by S1 ahead:

    S1 -> S2   word_i = m_1 - m_0 - 2^i (1 - 2 mu_i)    a bit,    and   mu - sum m_0 - r   a pixel,    mod 2^L
    S2         sum of m_c, less the word where rho_i = 1,  = sum m_0 + rho_i 2^i (1 - 2 mu_i);  plus the last: x - r

A word hides what it carries: m_(1-c) is uniform to S2, and the pixel's word is under r. L + L / bits bits of
words a bit online, where a circuit sends labels of 128.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import prod
from typing import NoReturn

import numpy as np

from twinveil.errors import AlreadyUsed, InvalidMessage
from twinveil.garbling.bits import from_bits, modulo, pack_words, packed_bytes, to_bits, unpack_words
from twinveil.garbling.labels import Bools, words
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
