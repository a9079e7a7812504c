"""The scripts here run under Keras or PyTorch, which the tests do without."""

collect_ignore_glob = ["*.py"]
