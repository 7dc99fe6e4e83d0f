"""Synthesis inside a training loop: what the data set yields, and that workers and epochs never repeat each other."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

import ias_zoo
from ias_zoo.errors import NotFitted, OptionError, RunError

# torch warns where there are fewer cores than workers; that is no concern of these tests
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

COUNT = 10


@pytest.fixture(scope="module")
def normals():
    return [np.random.default_rng(seed).integers(60, 200, (48, 64, 3), dtype=np.uint8) for seed in range(COUNT)]


def prints(loader):
    """What an epoch gave, example by example, as bytes; in order."""
    return [image.numpy().tobytes() for batch in loader for image in batch[0]]


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_what_it_yields(normals, dtype):
    dataset = ias_zoo.torch_dataset(normals, "cutpaste", p=1.0, dtype=dtype)
    assert len(dataset) == COUNT
    for index in range(COUNT):
        image, mask, label = dataset[index]
        assert image.shape == (3, 48, 64)
        assert mask.shape == (1, 48, 64)
        assert image.dtype == mask.dtype == getattr(torch, dtype)
        assert label.dtype == torch.int64
        assert label.item() == 1
        scale = 255 if dtype == "float32" else 1
        levels = (image * scale).round().to(torch.uint8).permute(1, 2, 0).numpy()
        assert set(mask.unique().tolist()) == {0, 1}
        outside = mask[0].numpy() == 0
        assert np.array_equal(levels[outside], normals[index][outside]), "example i is made from normal i"
        assert image.is_contiguous()


def test_share_of_defects(normals):
    dataset = ias_zoo.torch_dataset(normals, "cutpaste", p=0.3, length=800, dtype="uint8")
    labels = []
    for index in range(800):
        image, mask, label = dataset[index]
        labels.append(label.item())
        assert bool(mask.any()) == bool(label)
        if not label:
            assert np.array_equal(image.permute(1, 2, 0).numpy(), normals[index % COUNT])
    assert np.mean(labels) == pytest.approx(0.3, abs=3 * np.sqrt(0.21 / 800))
    for p, expected in ((0.0, {0}), (1.0, {1})):
        dataset = ias_zoo.torch_dataset(normals, "cutpaste", p=p)
        assert {dataset[index][2].item() for index in range(COUNT)} == expected


def loaders():
    return {
        "none": {"num_workers": 0},
        "fork": {"num_workers": 2, "multiprocessing_context": "fork"},
        "fork, persistent": {"num_workers": 2, "multiprocessing_context": "fork", "persistent_workers": True},
        "spawn, persistent": {"num_workers": 2, "multiprocessing_context": "spawn", "persistent_workers": True},
    }


@pytest.fixture(scope="module")
def reference(normals):
    """Three epochs without workers."""
    dataset = ias_zoo.torch_dataset(normals, "draem", p=1.0, seed=5)
    return [prints(DataLoader(dataset, batch_size=3)) for _ in range(3)]


def test_no_example_repeats(reference):
    everything = [example for epoch in reference for example in epoch]
    assert len(set(everything)) == 3 * COUNT


@pytest.mark.parametrize("kind", ["fork", "fork, persistent"])
def test_the_same_examples_at_any_number_of_workers(normals, reference, kind):
    dataset = ias_zoo.torch_dataset(normals, "draem", p=1.0, seed=5)
    loader = DataLoader(dataset, batch_size=3, **loaders()[kind])
    assert [prints(loader) for _ in range(3)] == reference


def test_spawned_workers_made_anew_each_epoch(normals, reference):
    dataset = ias_zoo.torch_dataset(normals, "draem", p=1.0, seed=5)
    loader = DataLoader(dataset, batch_size=5, num_workers=1, multiprocessing_context="spawn")
    assert [prints(loader) for _ in range(2)] == reference[:2]


def test_changing_the_loader_goes_on_counting(normals, reference):
    dataset = ias_zoo.torch_dataset(normals, "draem", p=1.0, seed=5)
    kinds = loaders()
    epochs = [prints(DataLoader(dataset, batch_size=3, **kinds[kind])) for kind in ("none", "fork", "none")]
    assert epochs == reference


@pytest.mark.parametrize("kind", ["none", "fork, persistent", "spawn, persistent"])
def test_set_epoch_reaches_running_workers(normals, reference, kind):
    dataset = ias_zoo.torch_dataset(normals, "draem", p=1.0, seed=5)
    loader = DataLoader(dataset, batch_size=3, **loaders()[kind])
    assert prints(loader) == reference[0]  # counted
    for epoch in (2, 0, 0, 1):
        dataset.set_epoch(epoch)
        assert prints(loader) == reference[epoch]
    with pytest.raises(OptionError, match="epoch=-1"):
        dataset.set_epoch(-1)


def test_shuffling_changes_the_order_alone(normals, reference):
    dataset = ias_zoo.torch_dataset(normals, "draem", p=1.0, seed=5)
    shuffled = DataLoader(dataset, batch_size=3, shuffle=True, generator=torch.Generator().manual_seed(1))
    first = prints(shuffled)
    assert first != reference[0]
    assert sorted(first) == sorted(reference[0])


def test_global_random_state_plays_no_part(normals, reference):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    dataset = ias_zoo.torch_dataset(normals, "draem", p=1.0, seed=5)
    assert [dataset[index][0].numpy().tobytes() for index in range(COUNT)] == reference[0]
    assert torch.equal(torch.get_rng_state(), state)
    other = ias_zoo.torch_dataset(normals, "draem", p=1.0, seed=6)
    assert not {other[index][0].numpy().tobytes() for index in range(COUNT)} & set(reference[0])


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_iterable_form_gives_each_index_once(normals, reference, workers):
    stream = ias_zoo.torch_dataset(normals, "draem", p=1.0, seed=5, iterable=True)
    context = "fork" if workers else None
    loader = DataLoader(stream, batch_size=2, num_workers=workers, multiprocessing_context=context)
    epochs = [prints(loader) for _ in range(2)]
    for epoch, expected in zip(epochs, reference, strict=False):
        assert sorted(epoch) == sorted(expected)
    assert epochs[0] != reference[0], "in order, not shuffled"
    orders = [[known.index(example) for example in epoch] for epoch, known in zip(epochs, reference, strict=False)]
    assert orders[0] != orders[1], "each epoch in an order of its own"
    again = ias_zoo.torch_dataset(normals, "draem", p=1.0, seed=5, iterable=True)
    loader = DataLoader(again, batch_size=2, num_workers=workers, multiprocessing_context=context)
    assert prints(loader) == epochs[0]


def test_more_workers_than_examples(normals):
    stream = ias_zoo.torch_dataset(normals[:2], "cutpaste", iterable=True)
    assert len(prints(DataLoader(stream, num_workers=3, multiprocessing_context="fork"))) == 2


def test_subsets_split_the_normals(normals):
    dataset = ias_zoo.torch_dataset(normals, "cutpaste", p=0.0, length=2 * COUNT, dtype="uint8")
    images = [image.permute(1, 2, 0).numpy() for image, _, _ in Subset(dataset, [1, 11, 3])]
    for image, number in zip(images, (1, 1, 3), strict=True):
        assert np.array_equal(image, normals[number])
    assert dataset[-1][0].shape == (3, 48, 64)
    with pytest.raises(IndexError):
        dataset[2 * COUNT]


def test_regions_size_soft_labels_and_transform(mvtec):
    dataset = ias_zoo.torch_dataset(
        mvtec, "nsa", p=1.0, size=(40, 56), soft_labels=True, transform=lambda *pair: tuple(x.flip(2) for x in pair)
    )
    image, mask, _ = dataset[0]
    assert image.shape == (3, 40, 56)
    assert 0 < mask.max() < 1, "a logistic label is below one"
    plain = ias_zoo.torch_dataset(mvtec, "nsa", p=1.0, size=(40, 56), soft_labels=True)
    assert torch.equal(plain[0][0].flip(2), image)


def test_it_is_picklable_and_a_copy_counts_for_itself(normals):
    dataset = ias_zoo.torch_dataset(normals, "cutpaste", p=1.0)
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(dataset[4][0], copy[4][0])
    assert not torch.equal(dataset[4][0], copy.example(4, 0)[0])
    assert torch.equal(dataset.example(4, 0)[0], copy.example(4, 0)[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"p": 1.5}, "p=1.5"),
        ({"dtype": "float16"}, "float16"),
        ({"length": 0}, "length=0"),
        ({"size": "256"}, r"size='256': expected \(height, width\).* such as size=\(256, 256\)"),
        ({"size": 256}, "size=256: expected"),
        ({"size": (256, 0)}, "expected .* of 1 to"),
        ({"size": ("256", "256")}, "expected .* of 1 to"),
        ({"soft_labels": True, "dtype": "uint8"}, "soft_labels"),
        ({"no_such_option": 1}, "no_such_option"),
        ({"method": "ami_net"}, "feature maps"),
        ({"method": "loaded", "jitter": 0.0}, "ias_zoo.load"),
    ],
)
def test_wrong_arguments_are_refused(normals, arguments, words):
    method = {"method": "cutpaste", **arguments}["method"]
    method = ias_zoo.load("cutpaste") if method == "loaded" else method
    rest = {name: value for name, value in arguments.items() if name != "method"}
    with pytest.raises(OptionError, match=words):
        ias_zoo.torch_dataset(normals, method, **rest)


def test_a_method_that_is_not_fitted_is_refused_at_once(normals):
    with pytest.raises(NotFitted, match="has to be fitted first"):
        ias_zoo.torch_dataset(normals, "seas")


def test_defects_that_the_weights_do_not_know_are_refused(normals):
    method = ias_zoo.load("cutpaste")
    method.defects = ("crack", "dent")  # as a fitted method has them
    with pytest.raises(OptionError, match="defect='hole': these weights know crack, dent"):
        ias_zoo.torch_dataset(normals, method, defect="hole")
    assert len(ias_zoo.torch_dataset(normals, method, defect="dent")) == COUNT


def test_an_example_that_cannot_be_made_says_why(normals):
    dataset = ias_zoo.torch_dataset([normals[0][:8]], "intra", p=1.0)
    with pytest.raises(RunError, match="holds no tile"):
        dataset[0]
    windows = ias_zoo.torch_dataset(normals, "intra", p=0.5, output="window", tile=8, window=3)
    with pytest.raises(RunError, match="use p=1"):
        [windows[index] for index in range(COUNT)]
    cut = ias_zoo.torch_dataset(normals, "intra", p=1.0, output="window", tile=8, window=3)
    assert next(iter(DataLoader(cut, batch_size=4)))[0].shape == (4, 3, 24, 24)


def test_forked_workers_of_a_parent_whose_opencv_has_threads():
    """OpenCV's threads do not survive a fork; a worker that waited for them would hang."""
    code = """
import cv2, numpy as np, torch, warnings
warnings.simplefilter("ignore")
import ias_zoo
from torch.utils.data import DataLoader
cv2.setNumThreads(4)
normals = [np.random.default_rng(i).integers(60, 200, (512, 512, 3), dtype=np.uint8) for i in range(4)]
cv2.GaussianBlur(cv2.resize(normals[0], (2048, 2048)), (31, 31), 5)  # the parent's threads run
dataset = ias_zoo.torch_dataset(normals, "nsa", p=1.0)
dataset[0]
print(len(list(DataLoader(dataset, num_workers=2, multiprocessing_context="fork"))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "4", done.stderr
