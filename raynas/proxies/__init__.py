"""Proxies, one module per family; importing this package registers them."""

from raynas.proxies import curve as curve
from raynas.proxies import ntk as ntk
from raynas.proxies import tvt as tvt
