-- Changes of datasets: from one definition to the next, step by step. keys dataset apply plans them; the rotation job
-- finishes them.
-- +goose Up

SET LOCAL ROLE cloakroom_owner;

CREATE TABLE cloakroom.evolutions (
  rotation       bigint PRIMARY KEY REFERENCES cloakroom.rotations ON DELETE CASCADE,
  dataset        text NOT NULL REFERENCES cloakroom.datasets,
  version        integer NOT NULL,
  old_definition text NOT NULL,
  definition     text NOT NULL,
  columns        jsonb NOT NULL,
  members        text[] NOT NULL,
  clear_columns  name[] NOT NULL CHECK (cardinality(clear_columns) = cardinality(members)),
  token_columns  name[] NOT NULL,
  reveal_columns name[] NOT NULL,
  again_columns  name[] NOT NULL,
  judged_columns name[] NOT NULL,
  remains        text[] NOT NULL
);
COMMENT ON TABLE cloakroom.evolutions IS 'changes of datasets, one row a run; rotations says whether it is under way';
COMMENT ON COLUMN cloakroom.evolutions.version IS 'the index key whose tokens are made';
COMMENT ON COLUMN cloakroom.evolutions.columns IS 'as record_dataset() takes them, once the definition is in force';
COMMENT ON COLUMN cloakroom.evolutions.members IS 'that were in clear and are to be sealed in the rows that are there';
COMMENT ON COLUMN cloakroom.evolutions.clear_columns IS 'of members: NULL once the row is sealed, then dropped';
COMMENT ON COLUMN cloakroom.evolutions.token_columns IS 'to be filled in the rows that are there';
COMMENT ON COLUMN cloakroom.evolutions.reveal_columns IS 'to be filled in the rows that are there';
COMMENT ON COLUMN cloakroom.evolutions.again_columns IS
  'of token_columns and reveal_columns, those to be made again in every row';
COMMENT ON COLUMN cloakroom.evolutions.judged_columns IS
  'of token_columns, those of new indexes: what they give away decides whether analysts get to see them';
COMMENT ON COLUMN cloakroom.evolutions.remains IS 'where the old values still are when all is done, for the operator';

CREATE TABLE cloakroom.evolution_steps (
  rotation bigint NOT NULL REFERENCES cloakroom.evolutions ON DELETE CASCADE,
  number   integer NOT NULL,
  run_by   text NOT NULL CHECK (run_by IN ('owner', 'epoch', 'fill', 'gate', 'index', 'operator')),
  title    text NOT NULL,
  sql      text NOT NULL,
  done_at  timestamptz,
  PRIMARY KEY (rotation, number)
);
COMMENT ON TABLE cloakroom.evolution_steps IS 'the steps of a change, each committed before the next';
COMMENT ON COLUMN cloakroom.evolution_steps.run_by IS
  'owner: its SQL; epoch: record the definition; fill: the rotation job seals and writes rows; gate: judge_evolution() '
  'says whether it goes on; index: an index on each partition; operator: printed, and never done by us';
COMMENT ON COLUMN cloakroom.evolution_steps.sql IS
  'written by the owner alone, who runs it: the rotator may only say that the next step is due';
