"""Networks: `net(x, c=None, mask=None) -> raw`, over any leading dimensions."""
