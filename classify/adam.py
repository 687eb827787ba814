"""Adam with decoupled weight decay: Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019."""

from collections.abc import Collection, Mapping

import numpy as np

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8  # of Kingma & Ba, "Adam", ICLR 2015


class Adam:
    """The optimizer of algorithm 2, which changes weights in place."""

    def __init__(
        self, weights: Mapping[str, np.ndarray], *, rate: float, decay: float, undecayed: Collection[str] = ()
    ) -> None:
        """Start with moments of zero.

        Args:
            weights: the arrays to change.
            rate: the learning rate.
            decay: each step takes ``rate * decay`` of a weight away.
            undecayed: names of weights that do not decay.
        """
        self.weights, self.rate = weights, rate
        self.shrink = {name: 1.0 if name in undecayed else 1 - rate * decay for name in weights}
        self.first = {name: np.zeros_like(array) for name, array in weights.items()}
        self.second = {name: np.zeros_like(array) for name, array in weights.items()}
        self.n_steps = 0

    def step(self, gradient: Mapping[str, np.ndarray]) -> None:
        """One step down the gradient."""
        self.n_steps += 1
        of_first, of_second = 1 - _BETA_1**self.n_steps, 1 - _BETA_2**self.n_steps
        for name, slope in gradient.items():
            first, second, weight = self.first[name], self.second[name], self.weights[name]
            first += (1 - _BETA_1) * (slope - first)
            second += (1 - _BETA_2) * (slope**2 - second)
            weight *= self.shrink[name]
            weight -= (self.rate / of_first) * first / (np.sqrt(second / of_second) + _EPSILON)
