"""Power, energy, memory, clocks and throttling of one device, behind one protocol."""
