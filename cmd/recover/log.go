package main

import "github.com/spf13/cobra"

func newLog() *cobra.Command    { return &cobra.Command{Use: "log"} }
func newReport() *cobra.Command { return &cobra.Command{Use: "report"} }
