"""Counter-measures in the learning rate: which layers of the model learn when.

Each takes the depth of a layer in [0, 1), 0 at the image, the share of the training that is done in [0, 1), and its
parameter, and returns a factor for the recipe's learning rate.
"""

from uc_hf.scoring.counter_measures.known import counter_measure


SLOWED = 0.01
"""Factor for layers whose stage is over."""


@counter_measure("staged", "rate", "stages", 4, range(2, 21))
def staged(depth: float, done: float, stages: int) -> float:
    """Progressive staged training (Dang et al. 2023): shallow layers, which noise traps first, learn less and less.

    With each stage one more part of the network, from the image on, all but stops to learn. Published, a measure of
    the activations ends a stage, and colours are jittered (`staged+jitter`); here all stages are of equal length.
    """
    return SLOWED if depth < int(done * stages) / stages else 1.0
