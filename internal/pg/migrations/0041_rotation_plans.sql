-- A page of a pass is read in key order from the primary key's index, whatever statistics say. Of a token column just added there
-- are none: the planner takes its NULLs for few, and read and sorted the whole slice, 25 times, for its 25 pages.
-- +goose Up

ALTER FUNCTION cloakroom.reindex_page(bigint, text[], text, date, uuid, date, uuid, integer) SET enable_sort = off;
ALTER FUNCTION cloakroom.reseal_page(bigint, date, uuid, date, uuid, integer) SET enable_sort = off;
ALTER FUNCTION cloakroom.clear_page(bigint, date, uuid, date, uuid, integer) SET enable_sort = off;
-- And what is found is updated by its key, not by reading the partition.
ALTER FUNCTION cloakroom.clear_page(bigint, date, uuid, date, uuid, integer) SET enable_hashjoin = off;
ALTER FUNCTION cloakroom.clear_page(bigint, date, uuid, date, uuid, integer) SET enable_mergejoin = off;
