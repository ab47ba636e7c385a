// Package model has plain models of what package es promises, and tries real stores and
// read databases against them: by random steps ([Store], [Views]), and by clients that run
// at once and whose history must be that of one stream ([Clients]). It is for tests alone.
//
//	rapid.Check(t, func(t *rapid.T) {
//		if err := model.Store(50).Draw(t, "steps").Run(ctx, new(memory.Store)); err != nil {
//			t.Fatal(err)
//		}
//	})
//
// A run depends on what was drawn alone, so a run that fails can be had again, and rapid
// makes it shorter.
package model
