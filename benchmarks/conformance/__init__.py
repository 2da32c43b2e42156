"""The conformance kit: does a method keep its contract on small real runs?

``checks`` holds one function a check, ``checking`` runs them all, ``plugin`` makes pytest tests of
them for another project, and ``depthbench check`` prints their report.
"""
