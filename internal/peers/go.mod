module github.com/leftfold/leftfold/internal/peers

go 1.26

require github.com/leftfold/leftfold v0.0.0

replace github.com/leftfold/leftfold => ../..
