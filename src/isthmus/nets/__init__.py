"""Networks: `net(x, c=None, mask=None) -> raw`, over any number of leading dimensions."""
