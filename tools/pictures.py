"""Make the pictures of the README and the model cards from the sample products: ``python tools/pictures.py``.

Everything shown is made by the zoo from procedural normals and scikit-image's CC0 brick photograph.
"""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import ias_zoo
from ias_zoo.data.images import write_whole
from ias_zoo.data.sample import write_sample, write_shots
from ias_zoo.generation.requests import Normals
from ias_zoo.method import Input, Produces, Trains
from ias_zoo.registry import State, registry
from ias_zoo.report.contact_sheet import Row, draw_sheet, overlay

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Sample

ROOT = Path(__file__).parents[1]
BANNER = ["cutpaste", "cutpaste_scar", "draem", "nsa"]


def shrink(picture: RGB, width: int) -> RGB:
    height = round(picture.shape[0] * width / picture.shape[1])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def save(path: Path, picture: RGB) -> None:
    """A PNG of at most 256 colours: small enough to be tracked."""
    buffer = BytesIO()
    Image.fromarray(picture).quantize(256, method=Image.Quantize.MEDIANCUT).save(buffer, "png", optimize=True)
    write_whole(path, buffer.getvalue())
    print(f"{path.relative_to(ROOT)}: {picture.shape[1]}x{picture.shape[0]}, {len(buffer.getvalue()) // 1024} KB")


def rows_for(name: str, products: list[Path]) -> list[Row]:
    """One sample of each product, then a second of each."""
    rows = []
    for product in products:
        normals = Normals(product)
        for sample in ias_zoo.load(name).generate(2, product, seed=1):
            normal = normals.read(normals.index(sample.recipe["request"]["normal_id"])).image
            rows.append(Row(f"{product.name}, {sample.defect}", normal, sample.image, sample.mask))
    return rows


def banner(names: list[str], products: list[Path]) -> RGB:
    """A column a method: its sample above, the mask drawn on it below; a pair of lines a product."""
    lines = []
    for number, product in enumerate(products):
        samples: list[Sample] = [ias_zoo.load(name).generate(number + 3, product, seed=4)[-1] for name in names]
        lines.append(np.hstack([sample.image for sample in samples]))
        lines.append(np.hstack([overlay(sample.image, sample.mask) for sample in samples]))
    head = Image.new("RGB", (256 * len(names), 34), (250, 250, 250))
    for column, name in enumerate(names):
        ImageDraw.Draw(head).text((column * 256 + 8, 4), name, fill=(40, 40, 40), font=ImageFont.load_default(22))
    return np.vstack([np.asarray(head, dtype=np.uint8), *lines])


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        products = write_sample(Path(scratch))
        names = [
            entry.method.name
            for entry in registry().entries()
            if entry.state is State.READY
            and entry.method.trains is Trains.NONE
            and entry.method.produces is Produces.IMAGE
        ]
        copying = [name for name in names if Input.SHOTS in ias_zoo.info(name).needs]
        drawn = [write_shots(Path(scratch))]
        for name in names:
            sheet = draw_sheet(
                rows_for(name, 3 * drawn if name in copying else products), f"{name} on the sample products"
            )
            save(ROOT / "model_cards/images" / f"{name}.png", shrink(sheet, 1200))
        save(
            ROOT / "docs/images/banner.png",
            shrink(banner(["cutpaste", "cutpaste_scar", "draem", "nsa"], products[1:]), 900),
        )


if __name__ == "__main__":
    main()
