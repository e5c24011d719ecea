"""Searchers behind one ask/tell protocol; importing this package registers them."""

from raynas.searchers.evolution import Evolution
from raynas.searchers.growth import AutoScaling
from raynas.searchers.nsga2 import NSGA2
from raynas.searchers.random_search import RandomSearch
from raynas.searchers.regularized_evolution import RegularizedEvolution
from raynas.searchers.reinforce import Reinforce
from raynas.searchers.tpe import TPE
from raynas.searchers.uncertainty import UncertaintySampling

__all__ = [
    "NSGA2",
    "TPE",
    "AutoScaling",
    "Evolution",
    "RandomSearch",
    "RegularizedEvolution",
    "Reinforce",
    "UncertaintySampling",
]
