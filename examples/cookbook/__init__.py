"""The cookbook: real questions about films, each as SQL written by hand beside the builder's version. Start with `questions.py`."""
