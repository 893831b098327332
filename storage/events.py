"""The names of the events that this package logs."""

DATABASE_WRITE_FAIL = "database.write.fail"
DATABASE_GROUP_FAIL = "database.group.fail"
DATABASE_WRITE_RECOVER = "database.write.recover"
DATABASE_SCHEMA_MIGRATE = "database.schema.migrate"

JOURNAL_APPEND_REFUSE = "journal.append.refuse"
JOURNAL_GIVE_UP_FAIL = "journal.claims.give_up_fail"
RESULT_ROW_SET_ASIDE = "result.row.set_aside"
RESULT_MESSAGE_REPEAT = "result.message.repeat"
OUTBOX_TARGET_CANCEL = "outbox.target.cancel"
OUTBOX_OUTCOME_IGNORE = "outbox.outcome.ignore"
DATABASE_CHECKPOINT_FAIL = "database.checkpoint.fail"
