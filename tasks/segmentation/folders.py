"""The data set that mmsegmentation reads: the very files that were checked."""

from __future__ import annotations

from typing import Any

from mmseg.datasets import BaseSegDataset


class CheckedPairs(BaseSegDataset):
    """Pictures and masks by their paths, where mmsegmentation would list folders by itself.

    Args:
        pairs: the path of every picture and that of its mask.
        options: of ``BaseSegDataset``.
    """

    def __init__(self, pairs: list[tuple[str, str]], **options: Any) -> None:
        self._pairs = pairs
        super().__init__(**options)

    def load_data_list(self) -> list[dict[str, Any]]:
        """What mmsegmentation's pipelines need of every picture."""
        common = {"label_map": self.label_map, "reduce_zero_label": self.reduce_zero_label}
        return [
            {"img_path": image, "seg_map_path": mask, "seg_fields": [], **common}
            for image, mask in self._pairs
        ]
