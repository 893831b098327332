"""The routes of `/api/v1`, one resource per module.

Handlers hold no rules of access: what they read goes through `Call.scope`, what they change through
`Call.change`. They return what the route's schema makes an answer of.
"""
