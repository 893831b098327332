"""The shapes of `/api/v1`: marshmallow schemas that validate requests, make answers and document both.

Names are snake_case here and camelCase on the wire. Unknown fields are ignored, as the clients of
this API expect.
"""
