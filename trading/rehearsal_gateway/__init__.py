"""A server that speaks the TWS wire protocol over a simulated market: a session can be rehearsed with no account.

It knows no client library: field orders are written down here, and tests ask real clients whether they are right.
"""
