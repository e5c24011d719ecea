"""Proxies, one module per family; importing this package registers them."""

from raynas.proxies import activations as activations
from raynas.proxies import az_nas as az_nas
from raynas.proxies import curve as curve
from raynas.proxies import jacobian as jacobian
from raynas.proxies import latency as latency
from raynas.proxies import ntk as ntk
from raynas.proxies import pretraining as pretraining
from raynas.proxies import saliency as saliency
from raynas.proxies import tvt as tvt
