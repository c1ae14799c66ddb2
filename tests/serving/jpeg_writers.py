"""Two kinds of JPEG that no library here writes: lossless, and lossy of 12 bits.

Written from ITU-T T.81 for one grey component, apart from every decoder under test.
"""

import struct

import numpy as np


def _segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def _frame(marker: int, precision: int, shape: tuple[int, ...]) -> bytes:
    height, width = shape
    head = struct.pack(">BHHB", precision, height, width, 1)
    return _segment(marker, head + bytes([1, 0x11, 0]))


def _table(kind: int, symbols: list[int], length: int) -> bytes:
    """DHT of codes that are all `length` bits long: the k-th symbol's code is k."""
    counts = [0] * 16
    counts[length - 1] = len(symbols)
    return _segment(0xC4, bytes([kind, *counts, *symbols]))


def _value(difference: int) -> tuple[int, str]:
    """The category of a difference and its additional bits (T.81 F.1.2.1)."""
    size = abs(difference).bit_length()
    if not size:
        return 0, ""
    coded = difference if difference > 0 else difference + (1 << size) - 1
    return size, format(coded, f"0{size}b")


def _scan(spectral_end: int, predictor: int, bits: list[str]) -> bytes:
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    body = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    return _segment(0xDA, bytes([1, 1, 0, predictor, spectral_end, 0])) + body


def lossless_jpeg(pixels: np.ndarray, precision: int) -> bytes:
    """SOF3 with first-order prediction (T.81 H): every sample from its left one."""
    values = pixels.astype(int)
    bits = []
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            left = row[x - 1] if x else values[y - 1, 0] if y else 1 << (precision - 1)
            # Differences are taken modulo 2^16; of 32768 the category alone is coded.
            difference = (int(value - left) + 32768) % 65536 - 32768
            if difference == -32768:
                bits.append(format(16, "05b"))
                continue
            size, more = _value(difference)
            bits.append(format(size, "05b") + more)
    return (
        b"\xff\xd8"
        + _frame(0xC3, precision, values.shape)
        + _table(0x00, list(range(17)), 5)
        + _scan(0, 1, bits)
        + b"\xff\xd9"
    )


_ZIGZAG = sorted(
    ((y, x) for y in range(8) for x in range(8)),
    key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]),
)
_K = np.arange(8)
_COSINES = np.sqrt(np.where(_K[:, None] > 0, 0.25, 0.125)) * np.cos(
    (2 * _K[None] + 1) * _K[:, None] * np.pi / 16
)


def twelve_bit_jpeg(pixels: np.ndarray) -> bytes:
    """SOF1 of 12 bits (T.81 F): the DCT with every quantizer 1, so nearly lossless.

    Sides must be multiples of 8.
    """
    height, width = pixels.shape
    symbols = [run << 4 | size for run in range(16) for size in range(15)]
    codes = {symbol: format(k, "09b") for k, symbol in enumerate(symbols)}
    bits, before = list[str](), 0
    for top in range(0, height, 8):
        for left in range(0, width, 8):
            block = pixels[top : top + 8, left : left + 8].astype(float) - 2048
            turned = np.rint(_COSINES @ block @ _COSINES.T).astype(int)
            first, *others = [int(turned[at]) for at in _ZIGZAG]
            size, more = _value(first - before)
            before = first
            bits.append(format(size, "05b") + more)
            run = 0
            while others and others[-1] == 0:
                others.pop()
            for coefficient in others:
                if coefficient == 0:
                    run += 1
                    continue
                bits.extend([codes[0xF0]] * (run // 16))
                size, more = _value(coefficient)
                bits.append(codes[run % 16 << 4 | size] + more)
                run = 0
            if len(others) < 63:
                bits.append(codes[0x00])
    return (
        b"\xff\xd8"
        + _segment(0xDB, bytes([0] + [1] * 64))
        + _frame(0xC1, 12, pixels.shape)
        + _table(0x00, list(range(17)), 5)
        + _table(0x10, symbols, 9)
        + _scan(63, 0, bits)
        + b"\xff\xd9"
    )
