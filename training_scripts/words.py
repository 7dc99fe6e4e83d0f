"""The tokenizer: byte pairs of CLIP's kind, in which common words of inspection are one token each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77  # what Stable Diffusion's pipelines pad prompts to

_TEXT = """
a an the this that these those of on in at by to from with without and or not no is are was has have near over under
above below between inside outside around across along beside behind before after into through onto off out up down
one two three four five six seven eight nine ten first second last many few some several all every each single double
photo picture image photograph view close closeup top side front back left right center centre middle corner border
edge rim surface ground background foreground object part piece product item component sample area region spot place
good normal perfect clean intact new used old broken damaged defective faulty bad worn dirty rusty wet dry smooth rough
small large big tiny huge long short thin thick wide narrow deep shallow round square flat curved bent straight sharp
soft hard bright dark light dull shiny glossy matte plain empty full open closed loose missing extra wrong misplaced
red green blue yellow orange purple pink brown black white grey gray silver gold golden beige transparent coloured
colored colour color colourful tint shade
defect defects anomaly anomalous anomalies damage damages flaw fault blemish scratch scratches scratched crack cracks
cracked hole holes blowhole blowholes stain stains stained dent dents dented pit pits pitted pore pores porosity break
breaks breakage chip chips chipped fray frayed uneven bump bulge burr burn burnt burned blister bubble bubbles
contamination contaminated dirt dust hair fibre fiber thread threads threaded speck spot spots mark marks line lines
scuff scrape gouge groove grooves wear corrosion rust oxidation discoloration discolored discoloured discolouration
inclusion inclusions patch patches pasted misprint print printed squeeze squeezed squeezed cut cuts poke poked fold
folded tear torn rip ripped wrinkle crease knot swap swapped flip flipped bent manipulated combined faulty imprint
liquid oil glue paint painted coat coated coating residue crumb crumbs debris foreign texture textured pattern patterned
metal metallic steel iron aluminium aluminum copper brass bronze zinc tin titanium alloy chrome cast casting forged
brushed ground machined turned milled polished stamped welded weld solder wood wooden timber plywood bamboo cork bark
plastic rubber glass ceramic porcelain clay terracotta stone rock rocks marble granite concrete cement asphalt plaster
terrazzo travertine onyx gravel sand soil brick bricks tile tiles glazed paving stones leather fabric cloth textile
woven weave knit carpet tatami net mesh wool cotton silk denim paper cardboard foil film foam tape moss grass leaves
snow planks boards board floor roof roofing wall wallpaper ceiling siding logs straw thatched needles pine
screw screws bolt nut washer gear rod pin bar wire cable chain mail ring bearing shaft pipe tube valve spring plate
sheet panel solar disc disk cap bottle can capsule pill tablet zipper toothbrush transistor hazelnut hazelnuts grid
circuit boards chip chips pad pads trace traces wafer magnet magnetic battery lens button box bag connector socket
cashew nuts candle candles macaroni fryum chewing gum pipe corrugated diamond wheel blade tooth teeth head neck tip
thread joint joints seam corner handle lid label logo letter number industrial inspection factory high low quality
resolution shadow lamp lit noise noisy blurry sharp grain grains cast style look looks like very little slightly
heavily sks xyz
"""
WORDS = tuple(dict.fromkeys(_TEXT.split()))
"""Words that a prompt about a product or a defect is likely to use, whether or not a training caption does."""


def train_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """Learn byte pairs on the words of the captions and :data:`WORDS`, until each word is one token.

    Any other text is still encodable: the vocabulary holds all 256 bytes, alone and at the end of a word.
    """
    words = sorted({*WORDS, *(word for text in captions for word in text.lower().split())})
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=20_000, end_of_word_suffix="</w>", show_progress=False)
    learner.train_from_iterator(words, trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(pair) for pair in merges), START, END]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Save as transformers does, and as vocab.json and merges.txt for its older versions."""
    tokenizer.save_pretrained(folder)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    lines = "\n".join(" ".join(pair) for pair in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{lines}\n", encoding="utf-8")
