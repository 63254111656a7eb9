"""How unlearnable is a protected dataset: an `evaluate` measurement on top of `uc_hf.scoring`."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from uc_hf.errors import SettingError
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.scorecard import score


_DESCRIPTION = """
Trains image classifiers on a clean set, its protected copy and control sets, with one pipeline and
several seeds, and tests them on clean images. A protected set is unlearnable when the accuracy of the models trained
on it falls towards chance, well below the same-epsilon controls.
"""

_KWARGS_DESCRIPTION = """
Args:
    clean (`datasets.Dataset`): the original images with labels.
    protected (`datasets.Dataset`): the protected copy.
    test (`datasets.Dataset`): clean images to test on.
    controls (`dict` of `datasets.Dataset`): further training sets by name, for example "control-random".
    targets (`list` of `str`): presets ("resnet-small", "resnet-18"), Hub names or folders.
    protocols (`list` of `str`): "from-scratch", "finetune" or "linear-probe".
    counter_measures (`list` of `str`): what a scraper does against the noise, such as "jpeg-75"; "none" for nothing.
    seeds (`list` of `int`): one training each.
    recipe (`dict`): fields of `uc_hf.scoring.recipes.Recipe`.

Returns:
    chance (`float`): accuracy of always answering the test set's most common class.
    rows (`list` of `dict`): target, protocol, train_set, counter_measure, seed, last and peak of each training, and
        more: docs/scorecards/README.md of uc_hf has the whole schema.

Example:
    >>> unlearnability = evaluate.load(uc_hf.module_path("unlearnability"))  # doctest: +SKIP
    >>> unlearnability.compute(clean=ds, protected=protected, test=test)  # doctest: +SKIP
"""

_CITATION = """
@inproceedings{zhang2023unlearnable,
  title={Unlearnable Clusters: Towards Label-Agnostic Unlearnable Examples},
  author={Zhang, Jiaming and Ma, Xingjun and Yi, Qi and Sang, Jitao and Jiang, Yu-Gang and Wang, Yaowei and
          Xu, Changsheng},
  booktitle={CVPR},
  year={2023}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Unlearnability(evaluate.Measurement):
    """Accuracy on clean images of models trained on protected ones."""

    def _info(self) -> evaluate.MeasurementInfo:
        return evaluate.MeasurementInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")}),
            reference_urls=["https://arxiv.org/abs/2301.01217"],
        )

    def compute(
        self,
        *,
        clean: datasets.Dataset,
        protected: datasets.Dataset,
        test: datasets.Dataset,
        controls: dict[str, datasets.Dataset] | None = None,
        targets: Sequence[str] = ("resnet-small",),
        protocols: Sequence[str] = ("from-scratch",),
        counter_measures: Sequence[str] = ("none",),
        seeds: Sequence[int] = (0, 1, 2),
        recipe: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Train on each set, test on clean images; see the description of the module."""
        train_sets, controls = {"clean": clean, "protected": protected}, controls or {}
        if taken := sorted(train_sets.keys() & controls.keys()):
            raise SettingError(f"controls has a set {taken[0]!r}, which is the name of another argument. Rename it.")
        scorecard = score(
            train_sets | controls,
            test,
            targets=targets,
            protocols=protocols,
            counter_measures=counter_measures,
            seeds=seeds,
            recipe=Recipe.from_mapping(recipe or {}),
        )
        return scorecard.to_dict()
