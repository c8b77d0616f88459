-- A session that begins late may be one that only reduces, and stays that when it is taken up again.

ALTER TABLE sessions ADD COLUMN only_reduces VARCHAR DEFAULT '';
COMMENT ON COLUMN sessions.only_reduces IS 'Why the session opened and added nothing from its first bar on (it began late); empty where it could.';
