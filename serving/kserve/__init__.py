"""The KServe v2 protocol's words, between its tensors and the typed requests and answers; servicers/kserve.py serves it."""
