"""A page that needs nothing but a browser: its elements, its look, its script.

What goes into an element as a string is escaped here, but for `content`, which is HTML
already.
"""

import base64
import html
import io
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

# Bytes of a picture above which it is compressed.
_LARGE = 2**18
# Pixels below which a picture is shown twice as large.
_SMALL = 400


def page(title: str, lead: str, sections: Mapping[str, str]) -> str:
    """The whole page, of ASCII characters.

    Args:
        title: its headline.
        lead: the line below.
        sections: content by headline; those without any are left out.
    """
    body = "\n".join(
        f"<section>\n<h2>{_text(name)}</h2>\n{content}\n</section>"
        for name, content in sections.items()
        if content
    )
    text = _PAGE.format(
        title=_text(title), lead=_text(lead), style=_STYLE, body=body, script=_SCRIPT
    )
    return text.encode("ascii", "xmlcharrefreplace").decode()


def _text(value) -> str:
    return html.escape(str(value))


def table(header: Sequence, rows: Iterable[Sequence]) -> str:
    """A table; the first cell of every row is its name."""
    head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in header)
    lines = "\n".join(
        f'<tr><th scope="row">{_text(name)}</th>'
        + "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{lines}</tbody></table></div>"
    )


def figures(content: Iterable[str]) -> str:
    """Drawings, one or two to a line."""
    cells = "\n".join(f"<figure>{drawing}</figure>" for drawing in content)
    return f'<div class="figures">{cells}</div>' if cells else ""


def details(summary: str, content: str) -> str:
    """Content that shows when its summary is clicked."""
    return f"<details><summary>{_text(summary)}</summary>\n{content}\n</details>"


def code(text: str) -> str:
    """Text as it is written in its file."""
    return f"<pre>{_text(text)}</pre>"


def note(text: str) -> str:
    """A remark."""
    return f'<p class="note">{_text(text)}</p>'


def confusion(caption: str, counts: Sequence[Sequence[int]]) -> str:
    """A matrix of quarter turns as shares of its rows."""
    matrix = np.array(counts, np.float64)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    turns = [f"{90 * turn}&deg;" for turn in range(len(shares))]
    head = "".join(f'<th scope="col">{turn}</th>' for turn in turns)
    lines = "".join(
        f'<tr><th scope="row">{turn}</th>'
        + "".join(f'<td style="--share:{share:.3f}">{share:.2f}</td>' for share in row)
        + "</tr>"
        for turn, row in zip(turns, shares, strict=True)
    )
    return (
        f'<table class="confusion"><caption>{_text(caption)}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{lines}</tbody></table>"
    )


def in_a_row(content: Iterable[str]) -> str:
    """Elements beside each other, as many as fit."""
    return f'<div class="row">{"".join(content)}</div>'


def picture_series(series: Mapping[str, Mapping[int, pathlib.Path]]) -> str:
    """Pictures over steps, each series beside the others, under one slider.

    Without JavaScript the last pictures show. Those of more than 256 KiB are compressed
    as WebP.

    Args:
        series: pictures by step, ascending, by the name of the series; none empty.

    Raises:
        OSError: a picture cannot be read.
        ValueError: a picture is damaged.
    """
    steps = sorted({step for pictures in series.values() for step in pictures})
    content = in_a_row(_pictures(*each) for each in series.items())
    last = len(steps) - 1
    return (
        f'<div id="series" data-steps="{steps}">\n'
        '<label class="slider" hidden>step <output></output><input type="range" '
        f'min="0" max="{last}" value="{last}"></label>\n{content}</div>'
    )


def _pictures(name: str, pictures: Mapping[int, pathlib.Path]) -> str:
    last = max(pictures)
    images = []
    for step, path in pictures.items():
        attributes = f'data-step="{step}" alt="{_text(name)}, step {step}"'
        attributes += "" if step == last else " hidden"
        images.append(_image(path, attributes))
    caption = f"<figcaption>{_text(name)}, step <span>{last:,}</span></figcaption>"
    return f"<figure>{caption}\n{chr(10).join(images)}</figure>\n"


def _image(path: pathlib.Path, attributes: str) -> str:
    content, kind = path.read_bytes(), "png"
    image = _decoded(content, path)
    width = image.width
    if len(content) > _LARGE:
        compressed = io.BytesIO()
        image.save(compressed, "WEBP", quality=90)
        content, kind = compressed.getvalue(), "webp"
    if width < _SMALL:
        attributes += ' class="small"'
        width *= 2
    data = base64.b64encode(content).decode()
    source = f"data:image/{kind};base64,{data}"
    return f'<img {attributes} width="{width}" src="{source}">'


def _decoded(content: bytes, path: pathlib.Path) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.load()
    # Pillow's errors on PNG have no class of their own.
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"A picture must be a whole PNG file. Received: {path}, which is not. "
            "Remove it."
        ) from error
    return image


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
  style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="lead">{lead}</p>
</header>
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""

_STYLE = """
:root {
  --ink: #1d2126; --soft: #5c6570; --paper: #ffffff; --panel: #f6f7f9;
  --rule: #dfe3e8; --accent: #0072b2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e7eb; --soft: #98a2ae; --paper: #14171b; --panel: #1c2026;
    --rule: #31373f; --accent: #3d9fd6;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 72rem; padding: 2.5rem 1.5rem 4rem;
  font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
}
h1 { margin: 0; font-size: 2rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 0 0 1rem; font-size: 1.25rem; }
.lead { margin: .4rem 0 0; color: var(--soft); }
section { margin-top: 2.5rem; padding-top: 1.5rem; border-top: 1px solid var(--rule); }
.note { margin: .75rem 0; font-size: .875rem; color: var(--soft); }
.wide { overflow-x: auto; }
table {
  border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums;
}
th, td { padding: .35rem 1.5rem .35rem 0; text-align: left; vertical-align: top; }
td { white-space: nowrap; }
tbody tr { border-top: 1px solid var(--rule); }
th { font-weight: 600; }
tbody th { font-weight: 400; color: var(--soft); }
figure { margin: 0; }
.figures {
  display: grid; gap: 1rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
}
.figures figure { padding: .75rem; border-radius: .5rem; background: var(--panel); }
.figures svg { display: block; width: 100%; max-width: 40rem; height: auto; }
svg text { font-family: system-ui, sans-serif !important; }
.row { display: flex; flex-wrap: wrap; gap: 1.5rem; }
figcaption, caption {
  margin-bottom: .4rem; text-align: left; font-size: .9rem; color: var(--soft);
}
img { display: block; max-width: 100%; height: auto; border-radius: .25rem; }
img.small { image-rendering: pixelated; }
[hidden] { display: none !important; }
.slider {
  display: grid; grid-template-columns: auto 4.5rem 1fr; align-items: center;
  gap: .5rem; max-width: 34rem; margin-bottom: 1rem;
  font-variant-numeric: tabular-nums;
}
input { width: 100%; accent-color: var(--accent); }
.confusion th, .confusion td { width: 3.5rem; padding: .5rem; text-align: center; }
.confusion tbody td {
  background: color-mix(in srgb, var(--accent) calc(var(--share) * 60%), transparent);
}
details { margin: .75rem 0; }
summary { cursor: pointer; color: var(--accent); }
pre {
  overflow-x: auto; margin: .5rem 0; padding: 1rem; border-radius: .5rem;
  font: .8rem/1.5 ui-monospace, monospace; background: var(--panel);
}
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  .slider { display: none !important; }
  figure, table { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""

# The address ending in #step=800 shows the last pictures up to that step.
_SCRIPT = """
(() => {
  const series = document.getElementById("series");
  if (!series) return;
  const steps = JSON.parse(series.dataset.steps);
  const slider = series.querySelector("input");
  const written = (step) => Number(step).toLocaleString("en");
  const show = () => {
    const step = steps[slider.value];
    series.querySelector("output").textContent = written(step);
    for (const figure of series.querySelectorAll("figure")) {
      const images = [...figure.querySelectorAll("img")];
      const before = images.filter((image) => Number(image.dataset.step) <= step);
      const shown = before.pop() || images[0];
      for (const image of images) image.hidden = image !== shown;
      figure.querySelector("span").textContent = written(shown.dataset.step);
    }
  };
  const follow = () => {
    const asked = location.hash.match(/^#step=(\\d+)$/);
    if (asked) {
      const before = steps.filter((step) => step <= Number(asked[1]));
      slider.value = Math.max(before.length - 1, 0);
    }
    show();
  };
  slider.addEventListener("input", show);
  addEventListener("hashchange", follow);
  series.querySelector(".slider").hidden = false;
  follow();
})();
"""
