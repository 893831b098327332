"""The tests mirror the packages.

This file must stay: the gmqtt wheel installs a top-level package called `tests`, and an explicit
package here keeps `import tests...` pointing at ours.
"""
