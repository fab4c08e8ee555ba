"""Codes equal those of their peers and of plain loops, and stand for vectors as near as they should."""

import math
import sys

import numpy as np
import pytest
import torch
from sentence_transformers.util import quantize_embeddings

from embedkit.core.errors import DataError, EmbedkitError
from embedkit.evaluation.compression.coders import Products, Signs, Steps, check_pq, coder
from embedkit.evaluation.compression.variants import PQ, BFloat16, Binary, Float16, Float32, Int8

SEED = 0


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(300, 20)).astype(np.float32)


def test_int8_codes_are_those_of_sentence_transformers(vectors):
    sample = vectors[:120]  # so that others lie outside the range
    codes = coder(Int8(), sample, seed=SEED).encode(vectors)
    theirs = quantize_embeddings(vectors, "int8", calibration_embeddings=sample)
    assert codes.dtype == theirs.dtype
    np.testing.assert_array_equal(codes, theirs)
    assert {codes.min(), codes.max()} == {-128, 127}


def test_int8_codes_are_those_of_a_plain_loop():
    steps = Steps.between(np.float32([-1, 0, 2]), np.float32([1, 10, 2]))
    vectors = np.float32([[-2, -2, -2], [-1, 0, 2], [0.003, 5, 3.5], [1, 10, 300], [2, 11, 2.9]])
    for vector, codes in zip(vectors, steps.encode(vectors), strict=True):
        for x, start, end, code in zip(vector, (-1, 0, 2), (1, 10, 2), codes, strict=True):
            step = np.float32(end - start) / np.float32(255) or np.float32(1)
            level = math.floor((np.float32(x) - np.float32(start)) / step)
            assert code == min(max(level, 0), 255) - 128


def test_a_dimension_without_a_range_stands_for_its_value(vectors):
    vectors[:, 4] = 0.25
    steps = coder(Int8(), vectors, seed=SEED)
    codes = steps.encode(vectors)
    np.testing.assert_array_equal(codes, quantize_embeddings(vectors, "int8", calibration_embeddings=vectors))
    decoded = steps.decode(codes)
    np.testing.assert_array_equal(decoded[:, 4], np.float32(0.25))
    width = np.ptp(vectors, axis=0) / 255
    assert (np.abs(decoded - vectors) <= 0.501 * width + 1e-6).all()


@pytest.mark.parametrize("dim", [1, 7, 8, 20])
def test_bits_are_those_of_sentence_transformers(vectors, dim):
    vectors = vectors[:, :dim].copy()
    vectors[0], vectors[1, 0] = 0, -0.0
    signs = coder(Binary(), vectors, seed=SEED)
    codes = signs.encode(vectors)
    np.testing.assert_array_equal(codes, quantize_embeddings(vectors, "ubinary"))
    np.testing.assert_array_equal(signs.decode(codes), np.where(vectors > 0, 1, -1))
    assert codes.shape[1] == signs.width == math.ceil(dim / 8)


def test_halves_are_rounded_to_the_nearest(vectors):
    half, brain = coder(Float16(), vectors, seed=SEED), coder(BFloat16(), vectors, seed=SEED)
    np.testing.assert_array_equal(half.decode(half.encode(vectors)), vectors.astype(np.float16).astype(np.float32))
    there_and_back = torch.from_numpy(vectors).bfloat16().float().numpy()
    np.testing.assert_array_equal(brain.decode(brain.encode(vectors)), there_and_back)
    assert not np.array_equal(there_and_back, vectors)


def test_float16_says_what_it_cannot_hold():
    with pytest.raises(DataError, match="float16: cannot hold the number 70000 of a vector; use bfloat16"):
        coder(Float16(), np.float32([[1]]), seed=SEED).encode(np.float32([[1, -70000]]))


def test_pq_takes_the_nearest_centroid_of_each_part(vectors):
    quantizer = coder(PQ(parts=5), vectors, seed=SEED)
    assert isinstance(quantizer, Products)
    codes = quantizer.encode(vectors)
    centroids = quantizer.decode(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 5, axis=1)).reshape(256, 5, 4)
    for vector, code, decoded in zip(vectors[:40], codes, quantizer.decode(codes), strict=False):
        for part in range(5):
            piece = vector[4 * part : 4 * part + 4]
            distances = [float(((piece - centroids[c, part]).astype(float) ** 2).sum()) for c in range(256)]
            assert distances[code[part]] <= min(distances) + 1e-6
            np.testing.assert_array_equal(decoded[4 * part : 4 * part + 4], centroids[code[part], part])
    np.testing.assert_array_equal(quantizer.decode(codes), quantizer.quantizer.decode(codes))
    again = coder(PQ(parts=5), vectors, seed=SEED).encode(vectors)
    np.testing.assert_array_equal(codes, again)


@pytest.mark.parametrize(
    ("parts", "count", "message"),
    [
        (3, 300, "pq: 3 equal parts cannot be made of 20 dimensions; 1, 2, 4, 5, 10, 20 can"),
        (5, 255, "pq: learns 256 centroids a part and needs as many documents; there are 255"),
    ],
)
def test_pq_says_what_it_cannot_learn_from(vectors, parts, count, message):
    with pytest.raises(DataError, match=message):
        coder(PQ(parts=parts), vectors[:count], seed=SEED)


def test_pq_without_faiss_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(EmbedkitError, match=r"pq: FAISS is not installed; .*leave this variant out"):
        check_pq()


@pytest.mark.parametrize(
    ("codec", "width", "table"),
    [
        (Float32(), 80, 0),
        (Float16(), 40, 0),
        (BFloat16(), 40, 0),
        (Int8(), 20, 160),
        (Binary(), 3, 0),
        (PQ(parts=4), 4, 256 * 20 * 4),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_bytes_are_those_of_the_codes(vectors, codec, width, table):
    found = coder(codec, vectors, seed=SEED)
    codes = found.encode(vectors)
    assert codes.dtype == np.dtype(found.dtype)
    assert codes[0].nbytes == width
    assert codes.shape == (300, found.width)
    assert found.table_bytes == table
    assert found.decode(codes).dtype == np.float32


def test_codes_of_no_vectors():
    assert Signs(9).encode(np.empty((0, 9), np.float32)).shape == (0, 2)
