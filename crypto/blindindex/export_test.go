package blindindex

// SubkeyBytes gives tests the bytes that must not be printed.
func SubkeyBytes(s *Subkey) []byte { return s.state().key[:] }
