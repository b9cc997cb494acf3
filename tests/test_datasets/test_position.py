"""Randomness by position, and the generators that it sets aside."""

import random

import numpy as np
import torch

from ride_mm.datasets.position import position_seed, positioned


def draw():
    # NumPy makes two normal numbers at a time.
    normal = tuple(np.random.randn(2))
    return random.random(), np.random.rand(), normal, torch.rand(1).item()


def test_draws_depend_on_the_position_alone():
    with positioned(1, 2, 3):
        first = draw()
    draw()
    with positioned(1, 2, 3):
        again = draw()
    with positioned(1, 2, 4):
        other = draw()
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_numpy_draws_what_its_seed_promises():
    expected = np.random.RandomState(position_seed(5, 6) & 0xFFFFFFFF).rand(4)
    with positioned(5, 6):
        np.testing.assert_array_equal(np.random.rand(4), expected)


def test_the_generators_go_on_afterwards_as_if_nothing_had_been():
    def seed():
        random.seed(7)
        np.random.seed(7)
        torch.manual_seed(7)
        return draw()

    seed()
    expected = [draw(), draw()]
    seed()
    got = [draw()]
    with positioned(8):
        draw()
        with positioned(9):
            inner = draw()
        draw()
    got.append(draw())
    assert got == expected
    with positioned(9):
        assert draw() == inner


def test_a_normal_number_held_back_does_not_leave_a_block():
    np.random.seed(7)
    expected = np.random.randn()
    np.random.seed(7)
    with positioned(1):
        np.random.randn()
    assert np.random.randn() == expected


def test_a_block_inside_of_another_leaves_it_alone():
    with positioned(1):
        expected = [draw(), draw()]
    with positioned(1):
        got = [draw()]
        with positioned(2):
            draw()
        got.append(draw())
    assert got == expected


def test_the_generators_are_put_back_after_an_error():
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    try:
        with positioned(1):
            raise KeyError
    except KeyError:
        pass
    assert np.random.rand() == expected
