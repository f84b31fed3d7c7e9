"""The contenders, one file each; `benchmarks/speed/contender.py` says what each must do, `entrants.py` who takes part."""
