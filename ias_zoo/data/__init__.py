"""People's folders: reading, checking, grouping and splitting them."""

from __future__ import annotations

from ias_zoo.data.dataset import DataSet, Item
from ias_zoo.data.reader import open_data

__all__ = ["DataSet", "Item", "open_data"]
