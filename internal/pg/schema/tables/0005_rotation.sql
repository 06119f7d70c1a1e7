-- What every step of the rotation job shares: its runs, their slices of work, and rows that did not open.
-- +goose Up

SET LOCAL ROLE cloakroom_owner;

CREATE TABLE cloakroom.rotations (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  step        text NOT NULL CHECK (step IN ('reseal', 'reindex', 'shred', 'forget', 'evolve')),
  state       text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done')),
  phase       text NOT NULL DEFAULT 'rows',
  data_keys   integer[] NOT NULL DEFAULT '{}',
  version     integer,
  dataset     text,
  before      date CHECK (before = date_trunc('month', before)),
  waiting_for text[],
  started_by  name NOT NULL DEFAULT session_user,
  started_at  timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  CHECK ((state = 'done') = (finished_at IS NOT NULL)),
  CHECK ((step = 'reindex') = (version IS NOT NULL)),
  CHECK ((step = 'shred') = (before IS NOT NULL))
);
COMMENT ON TABLE cloakroom.rotations IS
  'runs of the rotation job, one row a step; the next rotator resumes what is running';
COMMENT ON COLUMN cloakroom.rotations.phase IS 'how far a step of several phases has come';
COMMENT ON COLUMN cloakroom.rotations.data_keys IS
  'the data keys that shall have no row left (reseal), or that were shredded';
COMMENT ON COLUMN cloakroom.rotations.version IS 'the index key version whose tokens are being made';
COMMENT ON COLUMN cloakroom.rotations.dataset IS 'the dataset it is about; NULL: every one';
COMMENT ON COLUMN cloakroom.rotations.before IS 'months before this one are shredded';
COMMENT ON COLUMN cloakroom.rotations.waiting_for IS
  'virtual transaction ids that may still see rows as they were before the last backfill';
-- Two rotators that start a step at once work on one run of it.
CREATE UNIQUE INDEX rotations_running ON cloakroom.rotations (step) WHERE state = 'running';

CREATE TABLE cloakroom.rotation_slices (
  rotation   bigint NOT NULL REFERENCES cloakroom.rotations ON DELETE CASCADE,
  pass       text NOT NULL CHECK (pass IN ('reseal', 'rejections', 'backfill', 'check', 'clear', 'evolve')),
  dataset    text NOT NULL,
  part       date NOT NULL,
  slice      integer NOT NULL,
  first_sent timestamptz NOT NULL,
  after_sent timestamptz NOT NULL,
  after_id   uuid NOT NULL,
  last_sent  timestamptz NOT NULL,
  done       boolean NOT NULL DEFAULT false,
  rows_done  bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (rotation, pass, dataset, part, slice)
) WITH (fillfactor = 50);
COMMENT ON TABLE cloakroom.rotation_slices IS
  'ranges of time of a partition; a worker claims one for one transaction, and commits its watermark with the batch';
COMMENT ON COLUMN cloakroom.rotation_slices.part IS
  'first day of the partition; for the pass over rejections, the month of the data keys';
COMMENT ON COLUMN cloakroom.rotation_slices.after_sent IS 'the watermark, with after_id: rows up to it were looked at';
COMMENT ON COLUMN cloakroom.rotation_slices.last_sent IS 'where the slice ends, not included';
COMMENT ON COLUMN cloakroom.rotation_slices.done IS 'looked at to its end; that nothing is left is proved by counting';

CREATE TABLE cloakroom.quarantine (
  dataset   text NOT NULL,
  row_id    uuid NOT NULL,
  sent      timestamptz NOT NULL,
  rejection boolean NOT NULL,
  step      text NOT NULL,
  data_key  integer,
  problem   text NOT NULL,
  found_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (dataset, row_id, sent, rejection, step)
);
COMMENT ON TABLE cloakroom.quarantine IS
  'rows that did not open: left as they are, and their data keys are not retired';
COMMENT ON COLUMN cloakroom.quarantine.row_id IS 'of a row; of a rejection, its message''s id';
