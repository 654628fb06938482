"""What all pages share: templates, pictures within the page, lines of facts."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from medseg.report.figures import Picture
from medseg.report.report import NOTICE, plain


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of key facts or provenance; ``code`` for hashes and versions."""

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture as a template takes it."""

    uri: str
    caption: str
    description: str
    width: int


def template(name: str) -> jinja2.Template:
    """A template of this package.

    Every text is escaped, a name that is not there is an error, and ``plain`` takes control characters out;
    ``name`` does too, and lets a line end after an underscore.
    ``notice`` is always known.
    """
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_source),
    )
    environment.filters["plain"] = plain
    environment.filters["name"] = _breakable
    environment.globals["notice"] = NOTICE
    return environment.get_template(name)


def figure(picture: Picture) -> Figure:
    """A picture that lies within the page."""
    uri = "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")
    return Figure(uri, picture.caption, picture.description, picture.width)


def inline(svg: str) -> Markup:
    """A plot of `medseg.report.plots`, whose texts are escaped already."""
    return Markup(svg)  # noqa: S704 - made by `medseg.report.svg`, which escapes each text and attribute


def when(started: str) -> str:
    """A time in ISO 8601 as people read it."""
    return f"{started[:10]} {started[11:19]} UTC"


def _breakable(text: str) -> Markup:
    return escape(plain(text)).replace("_", Markup("_<wbr>"))


def _source(name: str) -> str:
    return resources.files("medseg.report").joinpath(name).read_text(encoding="utf-8")
