"""Sprites: small images with transparency, made once and pasted often; everything that is drawn consists of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from ..domain import Image

Colour = tuple[int, int, int]

DARK: Colour = (14, 16, 20)  # background of panels and labels
WHITE: Colour = (255, 255, 255)  # drawn at low opacity, for empty parts of bars

_FINER = 4  # text is drawn at this multiple of its size, then scaled down


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A small image with its transparency, ready to be pasted.

    Attributes:
        light: (h, w, 3) uint8 RGB, colour times opacity.
        keep: (h, w, 3) uint8, how much of what is below shines through: 0 nothing, 255 all of it.
    """

    light: Image
    keep: Image


@dataclass(frozen=True, slots=True, eq=False)
class TextSprite:
    """A line of text as a sprite; ``width`` is its advance and ``baseline`` the row that it stands on, in pixels."""

    stamp: Sprite
    width: int
    baseline: int


def write(canvas: Image, text: str, size: int, colour: Colour, x: int, middle: int, anchor: float = 0.0) -> int:
    """Write a line of text with its capitals centred on the row ``middle``; its width in pixels.

    Args:
        anchor: where ``x`` lies in the text: 0 at its left end, 0.5 in its middle, 1 at its right end.
    """
    line = word(text, size, colour)
    # Capitals and digits of the font are 0.7 of its size high.
    paste(canvas, line.stamp, x - round(anchor * line.width) - 1, middle + round(0.35 * size) - line.baseline)
    return line.width


def paste(canvas: Image, stamp: Sprite, x: int, y: int) -> None:
    """Paste a sprite with its upper left corner at a position; parts outside the image are cut off."""
    height, width = canvas.shape[:2]
    rows, columns = stamp.light.shape[:2]
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + columns, width), min(y + rows, height)
    if left >= right or top >= bottom:
        return
    below = canvas[top:bottom, left:right]
    part = np.s_[top - y : bottom - y, left - x : right - x]
    cv2.multiply(below, stamp.keep[part], dst=below, scale=1 / 255)
    cv2.add(below, stamp.light[part], dst=below)


def make_sprite(mask: NDArray[np.floating], colour: Colour) -> Sprite:
    """A sprite of one colour; mask: (h, w) opacity in [0, 1]."""
    opacity = mask[..., None]
    light = np.round(opacity * np.array(colour, np.float64)).astype(np.uint8)
    # Rounded such that repeated pasting never overflows.
    keep = np.floor(255 * (1 - opacity) + 1e-6).astype(np.uint8)
    return Sprite(light, np.ascontiguousarray(np.broadcast_to(keep, light.shape)))


def stacked(below: Sprite, above: Sprite) -> Sprite:
    """Two sprites of the same size, merged."""
    through = above.keep.astype(np.float64) / 255
    light = np.minimum(np.round(below.light * through) + above.light, 255).astype(np.uint8)
    return Sprite(light, np.floor(below.keep * through).astype(np.uint8))


def rounded(width: float, height: float, radius: float) -> NDArray[np.float64]:
    """(ceil height, ceil width) opacity in [0, 1] of a rectangle with round corners and smooth edges."""
    radius = max(0.0, min(radius, width / 2, height / 2))
    x = np.abs(np.arange(math.ceil(width)) + 0.5 - width / 2)[None, :] - (width / 2 - radius)
    y = np.abs(np.arange(math.ceil(height)) + 0.5 - height / 2)[:, None] - (height / 2 - radius)
    # Distance to the outline, negative inside.
    distance = np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0) - radius
    return np.clip(0.5 - distance, 0, 1)


@lru_cache(maxsize=4096)
def block(width: float, height: float, radius: float, colour: Colour, opacity: float) -> Sprite:
    """A filled rectangle with round corners."""
    return make_sprite(opacity * rounded(width, height, radius), colour)


@lru_cache(maxsize=16)
def ground(width: int, height: int, radius: int, stripe: int, colour: Colour) -> Sprite:
    """The background of a panel: dark, with a coloured stripe along its left edge."""
    shape = rounded(width, height, radius)
    bar = shape * (np.arange(width) < stripe)
    return stacked(make_sprite(0.8 * shape, DARK), make_sprite(bar, colour))


@lru_cache(maxsize=16)
def dial_face(size: int) -> Sprite:
    """The valence-arousal circle with its two axes."""
    disc = rounded(size, size, size / 2)
    line = max(1, round(size / 60))
    inner = np.zeros_like(disc)
    inner[line:-line, line:-line] = rounded(size - 2 * line, size - 2 * line, size / 2)
    axes = np.zeros_like(disc)
    start = (size - line) // 2
    axes[start : start + line] = axes[:, start : start + line] = 1.0
    middle = max(1, size // 4)
    ring = np.zeros_like(disc)
    ring[middle:-middle, middle:-middle] = rounded(size - 2 * middle, size - 2 * middle, size / 2)
    hole = middle + line
    ring[hole:-hole, hole:-hole] -= rounded(size - 2 * hole, size - 2 * hole, size / 2)
    opacity = 0.08 * disc + 0.5 * (disc - inner) + 0.26 * axes * inner + 0.12 * np.maximum(ring, 0)
    return make_sprite(np.clip(opacity, 0, 1), WHITE)


@lru_cache(maxsize=2048)
def cell(width: int, height: int, level: int, present: bool, colour: Colour) -> Sprite:
    """The cell of an action unit, filled from below to ``level`` pixels, with a rim if it is present."""
    radius = height / 5
    shape = rounded(width, height, radius)
    fill = shape * (np.arange(height)[:, None] >= height - level)
    # Darker than the colour itself, so that the number over it can be read.
    tone: Colour = (round(0.58 * colour[0]), round(0.58 * colour[1]), round(0.58 * colour[2]))
    stamp = stacked(make_sprite(0.12 * shape, WHITE), make_sprite(fill, tone if present else (74, 80, 88)))
    if not present:
        return stamp
    line = max(1, round(height / 14))
    rim = shape.copy()
    rim[line:-line, line:-line] -= rounded(width - 2 * line, height - 2 * line, radius - line)
    return stacked(stamp, make_sprite(np.clip(rim, 0, 1), colour))


@lru_cache(maxsize=512)
def corner(arm: int, line: int, halo: int, radius: int, colour: Colour, across: bool, down: bool) -> Sprite:
    """One corner of a box with a dark halo: the upper left one, mirrored ``across`` and ``down``."""
    reach = halo + line / 2
    # Pixel centres, counted from the corner of the box towards its inside.
    along = np.arange(arm + halo + line // 2) + 0.5 - (halo + line // 2)
    x, y = radius - along[None, :], radius - along[:, None]
    distance = np.abs(np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0) - radius)
    end = np.clip(arm - np.maximum(along[None, :], along[:, None]) - halo, 0, 1)
    dark = 0.5 * np.clip((reach - distance) / halo, 0, 1) * np.clip(end + 0.5, 0, 1)
    bright = np.clip(line / 2 - distance + 0.5, 0, 1) * end
    stamp = stacked(make_sprite(dark, DARK), make_sprite(bright, colour))
    step = np.s_[:: -1 if down else 1, :: -1 if across else 1]
    return Sprite(np.ascontiguousarray(stamp.light[step]), np.ascontiguousarray(stamp.keep[step]))


@lru_cache(maxsize=1024)
def edge(length: int, line: int, dash: int, colour: Colour, opacity: float, upright: bool) -> Sprite:
    """A straight line, with gaps half as long as its dashes unless ``dash`` is 0."""
    mask = np.full((line, length), opacity)
    if dash:
        mask *= (np.arange(length) % (dash + (dash + 1) // 2)) < dash
    return make_sprite(mask.T if upright else mask, colour)


@lru_cache(maxsize=4096)
def word(text: str, size: int, colour: Colour) -> TextSprite:
    """A line of text; empty text has no width."""
    font = load_font(_FINER * size)
    # Drawn larger and scaled down: at ten pixels, hinting would distort letters and their spacing.
    width, ascent, descent = (math.ceil(length / _FINER) for length in (font.getlength(text), *font.getmetrics()))
    plate = Pillow.new("L", (_FINER * (width + 2), _FINER * (ascent + descent)))
    ImageDraw.Draw(plate).text((_FINER, _FINER * ascent), text, fill=255, font=font, anchor="ls")
    mask = cv2.resize(np.asarray(plate), (width + 2, ascent + descent), interpolation=cv2.INTER_AREA)
    # The font is thin; small light text on a dark background reads better slightly bolder.
    return TextSprite(make_sprite((mask / 255) ** 0.75, colour), width, ascent)


@lru_cache(maxsize=16)
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own scalable font, Aileron; ``size`` in pixels."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow without FreeType has only one of fixed size
    return font
