"""Time of networks on this device, by the clock."""
