"""Layout of pictures: frame, letters, scale bar, legend."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from medseg.report.paint import Colour, Pixels
from medseg.report.planes import Plane
from medseg.report.report import NOTICE, plain

_BLACK, _WHITE = (0, 0, 0), (240, 240, 240)
_DIM, _LETTER, _PANEL = (160, 160, 160), (255, 214, 102), (16, 16, 18)
_MARGIN = 34
_STRIP = 30
_NARROWEST = 270
_LONGEST_BAR = 110
_GAP = 10
_TEXT, _SMALL, _NUMBER = 17, 15, 12
_MOST_ENTRIES = 72
_LONGEST_NAME = 44


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One plane, painted, with what is needed to write round it.

    Attributes:
        plane: which slice.
        picture: (rows, columns, 3), labels painted in.
        regions: (rows, columns) as large as ``picture``: 0 nothing, minus a label's index, or an instance id.
        colours: of each value of ``regions``.
        scale: pixels of the picture per unit of the plane's geometry.
        window: what is black and what is white, in words; may be empty.
        heading: stands above the picture in place of the title.
    """

    plane: Plane
    picture: Pixels
    regions: NDArray[Any]
    colours: Mapping[int, Colour]
    scale: float
    window: str
    heading: str = ""

    @property
    def name(self) -> str:
        """``axial``, ``coronal``, ``sagittal`` or ``image``."""
        return self.plane.name if self.plane.in_patient else "image"

    @property
    def title(self) -> str:
        """Such as ``Coronal, A 12.5 mm``."""
        if not self.plane.in_patient:
            return "Image"
        lean = " oblique" if self.plane.oblique else ""
        return f"{self.plane.name.capitalize()}{lean}, {self.plane.position}"

    @property
    def caption(self) -> str:
        """What the picture shows, in a sentence."""
        values = np.unique(self.regions)
        counts = [(int((values < 0).sum()), "label"), (int((values > 0).sum()), "object")]
        found = [f"{n} {what}{'s' if n > 1 else ''}" for n, what in counts if n]
        where = " in this slice" if self.plane.in_patient else ""
        text = f"{self.title}: {' and '.join(found) or 'nothing segmented'}{where}"
        return text + (f"; {self.window}" if self.window else "") + "."

    @property
    def description(self) -> str:
        """The caption and, in a scan of a patient, which way is which."""
        if not self.plane.in_patient:
            return self.caption
        left, right, top, bottom = self.plane.edges
        return f"{self.caption} Left of the picture is {left}, right {right}, top {top}, bottom {bottom}."


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """A label in the legend; without a colour where objects are coloured one by one."""

    name: str
    colour: Colour | None
    amount: str


def draw_tile(tile: Tile, height: int = 0) -> Image.Image:
    """The tile in its frame, at least ``height`` pixels of room for the picture."""
    rows, columns = tile.picture.shape[:2]
    room = max(columns, _NARROWEST - 2 * _MARGIN), max(rows, height)
    sheet = Image.new("RGB", (room[0] + 2 * _MARGIN, room[1] + 2 * _MARGIN + 2 * _STRIP), _BLACK)
    left = _MARGIN + (room[0] - columns) // 2
    top = _STRIP + _MARGIN + (room[1] - rows) // 2
    sheet.paste(Image.fromarray(tile.picture), (left, top))
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (sheet.width // 2, 8),
        _printable(tile.heading or tile.title, _LONGEST_NAME),
        fill=_WHITE,
        font=_font(_TEXT),
        anchor="ma",
    )
    if tile.plane.in_patient:
        _draw_letters(draw, tile.plane.edges, (left, top, left + columns, top + rows))
    _draw_numbers(draw, tile.regions, (left, top))
    _draw_foot(draw, tile, sheet.size)
    return sheet


def draw_sheet(tiles: Sequence[Tile], entries: Sequence[LegendEntry], title: str) -> Image.Image:
    """Tiles side by side, with a title above, a legend below and the notice at the bottom."""
    height = max(tile.picture.shape[0] for tile in tiles)
    drawn = [draw_tile(tile, height) for tile in tiles]
    width = max(sum(t.width for t in drawn) + _GAP * (len(drawn) - 1), 640)
    head = 34 if title else 0
    legend = _draw_legend(entries, width)
    sheet = Image.new("RGB", (width, head + drawn[0].height + legend.height + 34), _PANEL)
    draw = ImageDraw.Draw(sheet)
    draw.text((12, 9), _printable(title, 120), fill=_WHITE, font=_font(_TEXT + 1))
    x = (width - sum(t.width for t in drawn) - _GAP * (len(drawn) - 1)) // 2
    for picture in drawn:
        sheet.paste(picture, (x, head))
        x += picture.width + _GAP
    sheet.paste(legend, (0, head + drawn[0].height))
    draw.text((width // 2, sheet.height - 25), NOTICE, fill=_LETTER, font=_font(_TEXT), anchor="ma")
    return sheet


def _draw_letters(
    draw: ImageDraw.ImageDraw, edges: tuple[str, str, str, str], box: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = box
    middle_x, middle_y = (left + right) // 2, (top + bottom) // 2
    spots = ((left - 6, middle_y, "rm"), (right + 6, middle_y, "lm"), (middle_x, top - 6, "mb"))
    for letters, (x, y, anchor) in zip(edges, (*spots, (middle_x, bottom + 6, "mt")), strict=True):
        draw.text((x, y), letters, fill=_LETTER, font=_font(20 if len(letters) == 1 else 14), anchor=anchor)


def _draw_numbers(draw: ImageDraw.ImageDraw, regions: NDArray[Any], corner: tuple[int, int]) -> None:
    """Each id where its region is widest, if it fits."""
    present, compact = np.unique(np.maximum(regions, 0), return_inverse=True)
    boxes = ndimage.find_objects(compact.reshape(regions.shape))
    for number, box in zip(present[present > 0], boxes, strict=True):
        region = regions[box] == number
        text = str(int(number))
        font = _font(_NUMBER)
        if np.count_nonzero(region) < 2 * font.getlength(text) * _NUMBER:
            continue
        depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        spot = corner[0] + box[1].start + int(column), corner[1] + box[0].start + int(row)
        draw.text(spot, text, fill=_WHITE, font=font, anchor="mm", stroke_width=2, stroke_fill=_BLACK)


def _draw_foot(draw: ImageDraw.ImageDraw, tile: Tile, size: tuple[int, int]) -> None:
    width, height = size
    length, text = _scale_bar(_LONGEST_BAR / tile.scale, calibrated=tile.plane.geometry.calibrated)
    pixels = max(1, round(length * tile.scale))
    base = height - 12
    draw.text((width - 12, base - 9), text, fill=_WHITE, font=_font(_SMALL), anchor="rs")
    draw.line((width - 12 - pixels, base - 2, width - 12, base - 2), fill=_WHITE, width=2)
    for x in (width - 12 - pixels, width - 12):
        draw.line((x, base - 6, x, base + 1), fill=_WHITE, width=1)
    short = _printable(tile.window.split(": ")[-1], 30)
    draw.text((12, base), short, fill=_DIM, font=_font(_SMALL), anchor="ls")


def _scale_bar(at_most: float, *, calibrated: bool) -> tuple[float, str]:
    """The longest of 1, 2, 5 times a power of ten that is no longer than ``at_most``, and its text."""
    power = 10.0 ** np.floor(np.log10(at_most))
    length = float(max(step * power for step in (1, 2, 5) if step * power <= at_most * (1 + 1e-9)))
    if not calibrated:
        return length, f"{length:g} px"
    return (length, f"{length:g} mm") if length >= 0.1 else (length, f"{length * 1000:g} um")


def _draw_legend(entries: Sequence[LegendEntry], width: int) -> Image.Image:
    font = _font(_TEXT)
    shown = entries if len(entries) <= _MOST_ENTRIES else entries[: _MOST_ENTRIES - 1]
    texts = [(_printable(e.name, _LONGEST_NAME), e.amount, e.colour) for e in shown]
    if len(entries) > len(shown):
        texts.append((f"and {len(entries) - len(shown)} more", "", None))
    if not texts:
        texts = [("Nothing was found.", "", None)]
    cell = int(max(font.getlength(f"{name}  {amount}") for name, amount, _ in texts)) + 48
    columns = max(1, min(len(texts), (width - 24) // cell))
    rows = -(-len(texts) // columns)
    legend = Image.new("RGB", (width, 16 + 26 * rows), _PANEL)
    draw = ImageDraw.Draw(legend)
    for n, (name, amount, colour) in enumerate(texts):
        x, y = 14 + cell * (n // rows), 10 + 26 * (n % rows)
        if colour is not None:
            draw.rounded_rectangle((x, y + 1, x + 14, y + 15), radius=3, fill=colour)
        draw.text((x + 22, y + 14), name, fill=_WHITE, font=font, anchor="ls")
        draw.text((x + 22 + font.getlength(f"{name}  "), y + 14), amount, fill=_DIM, font=font, anchor="ls")
    return legend


def _printable(text: str, longest: int) -> str:
    """Text in the glyphs that the built-in font has; the rest becomes the nearest letter or ``?``."""
    known = unicodedata.normalize("NFKD", plain(text).replace("−", "-"))
    kept = "".join(c for c in known if not unicodedata.combining(c))
    shown = kept.encode("ascii", "replace").decode("ascii")
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
