module github.com/leftfold/leftfold

go 1.26
