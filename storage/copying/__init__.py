"""Copying a whole hub from one database to another, of any engine: how a hub moves house.

Nothing is lost on the way because everything is taken: what is accepted and not settled, what is
deferred, what waits to be delivered, what is known of devices, the books. Left behind is only what is
true of running processes: leases, process rows and their orders.

Theory of operation: one unit of the source reads all tables from one snapshot, parents before
children, a page at a time; one unit of the target writes the pages and checks the counts, so that
it is all there or nothing is. A copy that was interrupted, however, is simply begun anew.
"""

from storage.copying.copy import CopyReport, copy_database

__all__ = ["CopyReport", "copy_database"]
