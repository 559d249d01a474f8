"""Training of the network that finds the thing in a photograph (`core.models.salient`): what it sees (`figures`,
`grounds`, `composites`), and how it learns (`network`, `__main__`)."""
