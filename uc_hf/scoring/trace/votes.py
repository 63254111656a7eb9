"""The test of textures: each cluster's texture is applied to pictures that the suspect has not seen.

A suspect that was trained on the set has learnt which texture belongs to which pictures. So the texture of a cluster
moves its answers towards its labels for the pictures of that cluster. The key decided which cluster has which texture:
for a suspect that was not trained on the set, any other order of the textures fits as well.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from uc_hf.data.images import Picture
from uc_hf.data.progress import Bar
from uc_hf.fitting.noise import KeyedNoise
from uc_hf.protecting.noise import add
from uc_hf.scoring.trace.answers import Answer, Suspect
from uc_hf.scoring.trace.asking import plain
from uc_hf.scoring.trace.journal import Journal
from uc_hf.scoring.trace.pairs import Pairs, as_published


Shares = Mapping[str, float]
"""Label to its share, adding up to at most one."""


def ask_votes(
    suspect: Suspect, pairs: Pairs, unseen: Sequence[Picture], journal: Journal, *, named: bool
) -> np.ndarray:
    """How much each texture moves the answers about unseen pictures towards each cluster, float64 [p, p].

    Args:
        suspect: asked p times about each picture, and about some originals if `named` is false.
        pairs: the owner's scenes, which say what each cluster shows.
        unseen: pictures that the suspect was not trained on.
        journal: of the answers.
        named: whether the suspect uses the owner's labels.
    """
    n_textures = len(pairs.protector.fitted.sizes)
    clusters = _own_labels(pairs) if named else _suspects_labels(suspect, pairs, journal)
    votes = np.zeros((n_textures, n_textures))
    for number, picture in enumerate(Bar(unseen, desc="asking about textures", unit="image", leave=False)):
        key = f"textures on unseen picture {number}"
        if journal.get(key) is None:
            answers = suspect([Image.fromarray(copy) for copy in with_every_texture(pairs, picture)])
            table = [[_agreement(answer, clusters[c]) for c in range(n_textures)] for answer in answers]
            journal.add({key: table})
        votes += np.array(journal.get(key)) / len(unseen)
    return votes


def with_every_texture(pairs: Pairs, picture: Picture) -> list[np.ndarray]:
    """A picture with the noise of each cluster in turn, uint8 [H, W, 3] each.

    All are as strong as the strongest: which cluster is quiet was not drawn from the key, and the tightest cluster's
    pictures are the ones on which weak noise would change an answer least.
    """
    protector, noise = pairs.protector, pairs.protector.fitted.noise
    assert isinstance(noise, KeyedNoise)
    stored, even = protector.as_stored(picture), noise.evened()
    groups = range(len(protector.fitted.sizes))
    copies = (add(stored, even.for_picture(stored, group), protector.settings.levels) for group in groups)
    return [as_published(protector, stored, copy) for copy in copies]


def _own_labels(pairs: Pairs) -> dict[int, Shares]:
    """The owner's labels of each cluster's scenes."""
    found: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for scene in pairs.scenes:
        if scene.label is not None:
            found[scene.group][plain(scene.label)] += 1
    return defaultdict(dict, {group: _shares(count) for group, count in found.items()})


def _suspects_labels(suspect: Suspect, pairs: Pairs, journal: Journal) -> dict[int, Shares]:
    """The suspect's labels of each cluster's originals: in answers about copies their texture would speak, too."""
    found: defaultdict[int, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    asked: Counter[int] = Counter()
    for index, scene in enumerate(pairs.scenes):
        if asked[scene.group] == ORIGINALS:
            continue
        asked[scene.group] += 1
        key = f"original of row {scene.row}"
        if journal.get(key) is None:
            (answer,) = suspect([Image.fromarray(pairs.original(index).pixels)])
            journal.add({key: {plain(name): chance for name, chance in answer.items() if chance > LEAST}})
        for name, chance in journal.get(key).items():
            found[scene.group][name] += chance
    return defaultdict(dict, {group: _shares(count) for group, count in found.items()})


def _shares(count: Mapping[str, float]) -> Shares:
    total = sum(count.values()) or 1
    return {name: number / total for name, number in count.items()}


def _agreement(answer: Answer, shares: Shares) -> float:
    return sum(chance * shares.get(plain(name), 0.0) for name, chance in answer.items())


ORIGINALS = 20
"""Number of originals of each cluster that are asked about if the suspect has labels of its own."""

LEAST = 1e-3
"""Labels with a smaller probability are not recorded."""
