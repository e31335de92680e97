"""What a precision does on a provider, against recorded answers of PyTorch: at export and by `beamstep verify`; without torch.

`references` are what PyTorch answered and `probes` its numbers on random shapes; `tokens`, `metric`, `neighbours` and `speed`
measure one thing each, `bounds` judges, and `certify` puts the certificate together.
"""
