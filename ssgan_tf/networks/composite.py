"""What networks and blocks share that hold nothing but other layers."""


class Composite:
    """A layer whose sub-layers make their variables when they are first called.

    Keras would trace the call of a layer without `build` for the sake of building it,
    once more for each level of nesting: minutes for the deepest networks.
    """

    def build(self, *args, **kwargs):
        """Makes nothing: this layer has no variables of its own."""
