package blindindex

// SubkeyBytes gives tests the bytes that must not be printed, and are to be zero after Destroy.
func SubkeyBytes(s *Subkey) []byte { return s.state().key[:] }

// HasherRoom gives tests the buffer in which a hasher normalises, and which is to be zero between calls.
func HasherRoom(h *Hasher) []byte { return h.state().normal[:cap(h.state().normal)] }
